"""The server's processes: launcher, supervisor, workers."""
