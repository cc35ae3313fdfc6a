"""Of the packages named `azureml.…` the last one on the path: those that are installed come first, and are found."""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)
