"""MLflow's tracking store on its own tables, for what runs log and what is read of them all the time."""
