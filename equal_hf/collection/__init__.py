"""The rounds of a run: choose arms, draw documents, have pairs extracted, record them."""
