"""From documents to question-answer pairs."""
