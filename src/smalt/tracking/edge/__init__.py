"""What is done with a request to MLflow: who may send it, what is refused or translated, how it is passed on."""
