"""What the bridges share: a model as one function of one vector."""

from gradwire._bridges.ravel import listed, sizes, split
from gradwire._bridges.vector import Bridge

__all__ = ["Bridge", "listed", "sizes", "split"]
