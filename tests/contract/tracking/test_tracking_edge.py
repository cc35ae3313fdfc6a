"""The edge over HTTP: who gets in, what is passed on, what it survives."""
