"""A run as an HTML page and as pictures."""
