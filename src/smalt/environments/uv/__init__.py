"""Environments as virtual environments, built by uv from conda and pip specifications and from curated names."""

from smalt.environments.uv.environments import UvEnvironments

__all__ = ["UvEnvironments"]
