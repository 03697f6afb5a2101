"""What a run leaves behind: records on disk, then a dataset with a card, locally or on the Hub."""
