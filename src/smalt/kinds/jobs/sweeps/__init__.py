"""What a sweep is made of: the space that is searched, samplers, early termination, trials, and what decides."""
