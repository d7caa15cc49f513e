"""Ground floor: what a classifier is. Knows no data set and no HTTP."""
