"""What the commands read and print."""

from gradwire._cli.io.card_html import card_page
from gradwire._cli.io.card_view import CardView, TextTable, error_table, gate_table, read_checks, verdict, worst
from gradwire._cli.io.connection import Connection, is_local, open_model, what_is
from gradwire._cli.io.points import (
    BLOCK,
    read_columns,
    read_counts,
    read_derivatives,
    read_domain,
    read_names,
    read_pairs,
    read_points,
    read_shapes,
    read_tolerance,
    read_units,
    split_quoted,
)
from gradwire._cli.io.printers import Printer, points_table, printer
from gradwire._cli.io.tables import is_table, read_blocks

__all__ = [
    "BLOCK",
    "CardView",
    "Connection",
    "Printer",
    "TextTable",
    "card_page",
    "error_table",
    "gate_table",
    "is_local",
    "is_table",
    "open_model",
    "points_table",
    "printer",
    "read_blocks",
    "read_checks",
    "read_columns",
    "read_counts",
    "read_derivatives",
    "read_domain",
    "read_names",
    "read_pairs",
    "read_points",
    "read_shapes",
    "read_tolerance",
    "read_units",
    "split_quoted",
    "verdict",
    "what_is",
    "worst",
]
