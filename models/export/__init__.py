"""Keras to the files that serving runs."""
