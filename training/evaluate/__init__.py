"""Metrics and calibration on held-out images."""
