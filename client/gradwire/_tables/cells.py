"""Cells of text, the same rules for a file and for a pipe: missing labels, numbers, separators."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from typing import Final

from gradwire._errors import DataError

MISSING: Final = ("", "null", "NULL", "None", "NA", "N/A", "n/a", "#N/A")  # "nan" is a number that is none
COMMA: Final = ","
# Of two that fit, the first: a decimal comma, or a name with one, is no separator.
SEPARATORS: Final = (";", "\t", COMMA)
SNIFFED: Final = 50  # lines that a separator has to fit
DECIMALS: Final = (".", ",")


def number_of(cell: str, decimal: str = ".") -> float | None:
    """Return the number that a cell holds, NaN for a missing one; None where it holds something else."""
    cell = cell.strip()
    if cell in MISSING:
        return math.nan
    if "_" in cell or (decimal == "," and "." in cell):  # Python's 1_000; a point that may separate thousands
        return None
    try:
        return float(cell.replace(",", ".") if decimal == "," else cell)
    except ValueError:
        return None


def separator_of(lines: Sequence[str], decimal: str = ".") -> str:
    """Return the separator of cells: the one that splits most lines into as many cells as the header.

    Raises:
        DataError: the decimal comma would be the separator, too.
    """
    sample = [line for line in lines if line.strip()][:SNIFFED]

    def agreeing(separator: str) -> int:
        widths = [len(row) for row in csv.reader(sample, delimiter=separator) if row]
        return widths.count(widths[0]) if widths and widths[0] > 1 else 0

    separator = max(SEPARATORS, key=agreeing)
    if not agreeing(separator):
        separator = ";" if decimal == COMMA else COMMA  # a single column
    if separator == decimal and any(separator in line for line in sample):
        raise DataError("cells separated by ',' cannot have a decimal comma: leave --decimal out, or separate by ';'")
    return separator
