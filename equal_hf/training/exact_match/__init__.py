"""Exact match: prompts, greedy replies, the results in them, and what comes of it."""
