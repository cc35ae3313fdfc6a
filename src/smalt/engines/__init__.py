"""Where processes run: one package for each implementation of `arm.ports.Engine`."""
