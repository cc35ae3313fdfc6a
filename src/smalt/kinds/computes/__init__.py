"""Clusters and instances, machine sizes and how much of them is used."""
