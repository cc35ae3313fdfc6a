"""The node service: what a machine runs to be a node of a cluster elsewhere. It dials in; nobody dials it."""
