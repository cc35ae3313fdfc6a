"""Tasks as processes of this machine, each under an agent that outlives the server."""

from smalt.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
