"""Jobs as MLflow's runs: written, read, and made once, and the numbers that they log."""
