"""Azure Machine Learning on machines you own."""
