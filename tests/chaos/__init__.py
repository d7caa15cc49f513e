"""Faults made on purpose, for real, on 127.0.0.1, and what they cost: ``python -m tests.chaos`` prints one table."""
