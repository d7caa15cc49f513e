"""catseye's service: from a stored classifier to HTTP. Imports models, never training; never TensorFlow at start."""
