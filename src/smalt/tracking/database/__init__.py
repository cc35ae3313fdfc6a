"""MLflow's database: its tables as we know them, how it is opened, made and upgraded."""
