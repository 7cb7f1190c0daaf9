"""What the command prints: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradwire._errors import printable

LOG_WIDTH: Final = 160  # where there is no terminal, tables are not folded to 80 columns

out = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else LOG_WIDTH)


def say(text: str, line_break: bool = True) -> None:
    """Print a line of a result verbatim: no markup, no control characters. Also a ``print_fn`` for Keras."""
    out.print(plain(text), soft_wrap=True, end="\n" if line_break else "")


def note(text: str) -> None:
    """Print a line about the work, to standard error."""
    err.print(plain(text), soft_wrap=True)


def error_line(text: str) -> None:
    """Print the one line of an error, to standard error."""
    err.print(Text("gradwire: ", style="bold red").append_text(plain(text)), soft_wrap=True)


def plain(text: object) -> Text:
    """Return text that is safe to show: without markup and without control characters."""
    return Text(printable(str(text)))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text: bool = False) -> None:
    """Print a table.

    Args:
        title: above the table; empty for none.
        columns: headings.
        rows: cells, shown by ``str``.
        text: whether all columns are text; otherwise all but the first are numbers, aligned to the right.
    """
    if title:
        out.print(plain(title), style="bold", soft_wrap=True)
    shown = Table()
    for index, column in enumerate(columns):
        shown.add_column(plain(column), justify="left" if text or index == 0 else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(plain(cell) for cell in row))
    out.print(shown)


def number(value: float | None) -> str:
    """Format a number to three significant digits; a dash for None."""
    return "-" if value is None else f"{value:.3g}"
