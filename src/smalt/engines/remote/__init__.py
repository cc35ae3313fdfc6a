"""Tasks on machines that dial in: what is wanted goes down a stream that they hold open, what they say comes back."""

from smalt.engines.remote.engine import RemoteEngine

__all__ = ["RemoteEngine"]
