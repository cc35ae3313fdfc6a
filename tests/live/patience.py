"""How long tests wait for what comes."""

PATIENCE_S = 150.0
"""For a machine three times slower than ours that stands still for half a minute. Nothing is slower for it: each wait ends at its event."""
ANSWER_S = 90.0
"""For the answer to one request, which such a machine may keep waiting."""
