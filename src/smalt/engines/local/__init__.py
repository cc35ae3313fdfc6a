"""Tasks as processes of this machine, each under an agent that outlives the server."""

from smalt.engines.local.engine import LocalEngine
from smalt.engines.local.places import Finder

__all__ = ["Finder", "LocalEngine"]
