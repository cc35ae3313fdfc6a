"""The files of runs and models: their names, the folders that hold them, and MLflow's routes to them."""
