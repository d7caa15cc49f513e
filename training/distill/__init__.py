"""Train a fast student on a stored classifier's answers."""
