"""From a stored classifier to HTTP. Imports models, never training; never TensorFlow at start."""
