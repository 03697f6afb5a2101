"""The TRL trainer whose epochs are rounds."""
