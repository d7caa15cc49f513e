"""The server's processes: the supervisor and its workers."""
