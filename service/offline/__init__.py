"""Classify files without a server."""
