"""Ray as a provider of nodes: over HTTP to its dashboard. Only `bridge.py` imports Ray, on Ray's side."""

from smalt.engines.ray.provider import RayProvider

__all__ = ["RayProvider"]
