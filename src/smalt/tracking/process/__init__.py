"""MLflow's own server: how it starts, what is put right inside it, and the way to its socket."""
