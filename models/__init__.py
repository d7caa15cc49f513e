"""catseye's models: what a classifier is. Knows no data set and no HTTP."""
