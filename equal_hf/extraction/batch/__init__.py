"""Requests sent as a provider's batch: half the price, hours instead of seconds, and found again after a kill."""
