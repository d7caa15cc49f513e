"""This service beside its peers: the same photographs, the same network, one run, rounds by turns.

``python -m benchmarks.serving`` (``make bench``) measures; docs/lab/performance.md says how to read what it prints.
"""
