"""Numbers over time: recorded at one hook, collected from others, shown to Prometheus."""
