"""Stored responses and the ledger of what was paid."""
