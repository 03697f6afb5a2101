"""Rounds in W&B, trackio and on the terminal."""
