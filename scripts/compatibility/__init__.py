"""What `scripts/compatibility.py` is made of: the examples, what they expect to find, and how each kind is tried."""
