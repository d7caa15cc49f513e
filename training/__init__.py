"""catseye's training: from a folder of labelled images to a stored classifier. Imports models, never service."""
