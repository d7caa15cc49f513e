"""What the tests share: servers, models, images, files, programs; nothing here is a test."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
