"""From a document to the requests it takes: chunks, budget, stored responses."""
