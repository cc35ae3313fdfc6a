"""Models in MLflow's tables: its registry, logged models, and where a version's files come from."""
