"""Fine-tune the embedder to a corpus's own pairs, before it is indexed."""
