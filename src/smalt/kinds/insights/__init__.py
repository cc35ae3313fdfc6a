"""Numbers of resources over time."""
