"""The two training phases, their optimizer, checkpoints and devices."""
