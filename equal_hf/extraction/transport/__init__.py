"""One HTTP request to one of several endpoints: dialects, limits, retries, faults."""
