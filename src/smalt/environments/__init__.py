"""Specification → resolved → built and cached. One builder so far: `uv`, for all that is Python."""

from smalt.environments.uv import UvEnvironments

__all__ = ["UvEnvironments"]
