"""Import classifiers that were trained elsewhere."""
