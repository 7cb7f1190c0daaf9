"""``gradwire query --watch``: the same points again and again, while versions come and go."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from rich.console import Group
from rich.live import Live

from gradwire._cli.choices import Format
from gradwire._cli.console import note, out, plain
from gradwire._cli.io import answer_table, printer
from gradwire._errors import DeadlineExceeded, GradwireError, ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gradwire._model import Model

    Arrays = Mapping[str, NDArray[Any]]

PASSING = (ServerUnreachable, DeadlineExceeded)  # a server that restarts; anything else ends the watch


def watch(model: Model, once: Callable[[], Arrays], form: Format, seconds: float) -> None:
    """Asks until Ctrl-C. A terminal shows one table that changes; a pipe gets the answers that differ from the last.

    Args:
        model: what is asked.
        once: asks once.
        form: how a pipe gets the answers.
        seconds: from one answer to the next question.

    Raises:
        GradwireError: what no waiting will mend.
    """
    with suppress(KeyboardInterrupt):
        if out.is_terminal and form is Format.TABLE:
            _to_terminal(model, once, seconds)
        _to_pipe(model, once, form, seconds)


def _to_terminal(model: Model, once: Callable[[], Arrays], seconds: float) -> NoReturn:
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        last: Arrays | None = None
        while True:
            try:
                now = once()
                caption = f"{_versions(model)}, {_clock()}{'' if last is None else _change(last, now)}"
                live.update(answer_table(now, caption), refresh=True)
                last = now
            except PASSING as error:
                shown = answer_table(last, "the last answer") if last is not None else plain("")
                live.update(Group(shown, plain(f"{_clock()}: {error}")), refresh=True)
            time.sleep(seconds)


def _to_pipe(model: Model, once: Callable[[], Arrays], form: Format, seconds: float) -> NoReturn:
    shown = printer(form)
    last: Arrays | None = None
    while True:
        try:
            now = once()
            if last is None or _differ(last, now):
                note(f"{_clock()}: {_versions(model)}")
                shown.block(now)
                if form in (Format.TABLE, Format.JSON):
                    shown.end()
                    shown = printer(form)
            last = now
        except PASSING as error:
            note(f"{_clock()}: {error}")
        time.sleep(seconds)


def _versions(model: Model) -> str:
    """Which versions answer: the newest available one, unless the address names another."""
    try:
        available = [row.version for row in model.status() if row.state == "AVAILABLE"]
    except GradwireError:
        return "version unknown"
    return f"version {available[0]}" if available else "no version is available"


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _differ(last: Arrays, now: Arrays) -> bool:
    return last.keys() != now.keys() or any(last[name].tobytes() != now[name].tobytes() for name in now)


def _change(last: Arrays, now: Arrays) -> str:
    """How far the numbers have moved since the last answer."""
    with np.errstate(invalid="ignore"):
        moved = {
            name: float(np.nanmax(np.abs(now[name] - last[name]), initial=0.0))
            for name in now
            if name in last and now[name].shape == last[name].shape and now[name].dtype.kind == "f"
        }
    largest = max(moved, key=moved.__getitem__, default=None)
    return "" if largest is None or not moved[largest] else f", {largest} moved by {moved[largest]:.3g}"
