"""Checks of a written package against the model that it was made from."""

from gradwire_export._checks.check_rows import CheckRows, drawn_text
from gradwire_export._checks.float64_graph import read_graph, read_variables
from gradwire_export._checks.fresh_process import Arrays, Request, Response, run_fresh
from gradwire_export._checks.model_check import Agreement, check_package, complete_card, require_close, write_card

__all__ = [
    "Agreement",
    "Arrays",
    "CheckRows",
    "Request",
    "Response",
    "check_package",
    "complete_card",
    "drawn_text",
    "read_graph",
    "read_variables",
    "require_close",
    "run_fresh",
    "write_card",
]
