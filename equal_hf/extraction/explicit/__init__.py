"""Pairs that documents state themselves: doctests, and questions marked as such."""
