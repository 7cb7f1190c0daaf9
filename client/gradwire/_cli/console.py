"""What the command prints: answers to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOG_WIDTH: Final = 160  # where there is no terminal, tables are not folded to 80 columns

out = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else LOG_WIDTH)


def say(text: str, line_break: bool = True) -> None:
    """Prints text of an answer, as it is: no markup, no control characters. Also a ``print_fn`` for Keras."""
    out.print(plain(text), soft_wrap=True, end="\n" if line_break else "")


def note(text: str) -> None:
    """Prints a line about the work, to standard error."""
    err.print(plain(text), soft_wrap=True)


def error_line(text: str) -> None:
    """Prints the one line that an error gives."""
    err.print(Text("gradwire: ", style="bold red").append_text(plain(text)), soft_wrap=True)


def plain(text: object) -> Text:
    """Makes text safe to show: it may come from a server, and could carry markup or terminal commands."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text)))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text: bool = False) -> None:
    """Prints a table.

    Args:
        title: above the table; empty for none.
        columns: headings.
        rows: cells, shown by ``str``.
        text: whether all columns are text; else all but the first are numbers, aligned to the right.
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
    """Formats an error or a duration: three significant digits; a dash for one that is not known."""
    return "-" if value is None else f"{value:.3g}"
