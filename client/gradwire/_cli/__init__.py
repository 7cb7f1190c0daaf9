"""The command ``gradwire``: the one place that knows all four folders."""

from gradwire._cli.main import main

__all__ = ["main"]
