"""Storage accounts with their keys and containers, and the signatures made with those keys."""
