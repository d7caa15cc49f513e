"""Complete examples: solar cells, and the lecture's comparison of methods."""
