"""A run's state on disk: its rounds, what they hold, and statistics of them."""
