"""Which pairs are kept, and the reason for each that is not."""
