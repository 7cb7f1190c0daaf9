"""``gradwire evaluate``: the tables that it prints, and the page that it writes."""

from gradwire._cli.evaluate.page import evaluation_page
from gradwire._cli.evaluate.tables import show_evaluation

__all__ = ["evaluation_page", "show_evaluation"]
