"""Feature maps and heat maps as pictures."""
