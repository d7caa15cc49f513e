"""Runs a stored classifier: OpenVINO by default, TensorFlow on request."""
