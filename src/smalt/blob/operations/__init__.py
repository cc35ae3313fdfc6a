"""What a request does, operation by operation, and the service that changes bytes and rows of a blob together."""
