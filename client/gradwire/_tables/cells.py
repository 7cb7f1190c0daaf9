"""Cells of text, the same rules for a file and for a pipe: missing labels, numbers, separators."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from itertools import islice
from typing import Final

from gradwire._errors import DataError

MISSING: Final = ("", "null", "NULL", "None", "NA", "N/A", "n/a", "#N/A")  # "nan" is a number that is none
SEPARATORS: Final = (";", "\t", ",")  # tried in this order: a decimal comma, or a name with one, is no separator
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
    """Return the separator of cells: the first that splits the header, and every line after it, as often.

    Raises:
        DataError: the decimal comma would be the separator, too.
    """
    sample = [line for line in lines if line.strip()][:SNIFFED]
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(islice(sample, SNIFFED), delimiter=separator) if row]
        if widths and widths[0] > 1 and widths.count(widths[0]) == len(widths):
            break
    else:
        separator = next((s for s in SEPARATORS[::-1] if sample and s in sample[0]), SEPARATORS[-1])
    if separator == decimal and any(separator in line for line in sample):
        raise DataError("cells separated by ',' cannot have a decimal comma: leave --decimal out, or separate by ';'")
    return separator
