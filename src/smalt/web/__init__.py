"""What a browser or a plain HTTP client gets outside of the protocols: pages, health, constraints."""
