"""Labelled images: layouts, tables, validation, splits, loading, augmentation."""
