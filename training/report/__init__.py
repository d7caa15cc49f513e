"""What a run shows: report, plots, console tables."""
