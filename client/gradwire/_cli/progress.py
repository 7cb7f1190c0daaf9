"""Progress: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gradwire._cli.console import err, note

LINE_EVERY: Final = 5.0  # seconds; a log of an hour has 720 lines


@contextmanager
def progress(what: str) -> Generator[Callable[[int, int, str], None]]:
    """Show the progress of something.

    Args:
        what: the label of the bar.

    Yields:
        A function of the steps done, the total, and a short text.
    """
    if not err.is_terminal:
        yield _Lines(what).report
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None, text="")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)


class _Lines:
    """Writes a line at most every ``LINE_EVERY`` seconds."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.last = time.monotonic()

    def report(self, done: int, total: int, text: str) -> None:
        if time.monotonic() - self.last >= LINE_EVERY:
            self.last = time.monotonic()
            note(f"{self.what} {done}/{total} {text}")
