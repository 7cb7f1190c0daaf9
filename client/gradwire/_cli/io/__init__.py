"""What the commands read and print."""

from gradwire._cli.io.card_html import card_page, check_lines, reference_line
from gradwire._cli.io.points import open_model, read_domain, read_names, read_pairs, read_points, read_units
from gradwire._cli.io.printers import answer_table, labels, printer
from gradwire._cli.io.tables import STDIN, is_table, open_table, read_blocks

__all__ = [
    "STDIN",
    "answer_table",
    "card_page",
    "check_lines",
    "is_table",
    "labels",
    "open_model",
    "open_table",
    "printer",
    "read_blocks",
    "read_domain",
    "read_names",
    "read_pairs",
    "read_points",
    "read_units",
    "reference_line",
]
