"""Experiment tracking: MLflow's own server in a process of its own, its edge in ours, and jobs as runs by SQL."""
