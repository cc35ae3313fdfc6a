"""Tasks on blobs that are no files of their machine: brought here before, taken back while they run and after."""

from smalt.engines.local.carry.carriage import Carriage

__all__ = ["Carriage"]
