"""Checks of a written package against the model that it was made from."""

from gradwire_export._checks.check_rows import CheckRows, drawn_text
from gradwire_export._checks.model_check import check_package, complete_card, write_card

__all__ = ["CheckRows", "check_package", "complete_card", "drawn_text", "write_card"]
