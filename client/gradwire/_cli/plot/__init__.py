"""Slices through a model's domain, and how they are drawn."""

from gradwire._cli.plot.figure import save
from gradwire._cli.plot.slices import coordinates, slices
from gradwire._cli.plot.terminal import draw

__all__ = ["coordinates", "draw", "save", "slices"]
