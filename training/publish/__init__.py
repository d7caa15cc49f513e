"""The end of a run: export, measure, choose a precision, store."""
