"""``gradwire evaluate``: the tables that it prints."""

from gradwire._cli.evaluate.tables import show_evaluation

__all__ = ["show_evaluation"]
