"""``gradwire query --watch``: one query repeated while versions come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.live import Live

from gradwire._cli.choices import Format
from gradwire._cli.console import note, out, plain
from gradwire._cli.io import points_table, printer
from gradwire._errors import DeadlineExceeded, GradwireError, ServerUnreachable
from gradwire._model import Model

Arrays = Mapping[str, NDArray[Any]]

TRANSIENT: Final = (ServerUnreachable, DeadlineExceeded)  # a server that restarts; any other error ends the watch


def watch_query(
    model: Model, call: Callable[[], Arrays], form: Format, seconds: float, *, label: str | None = None
) -> None:
    """Repeat a query until Ctrl-C; a terminal shows one live table, a pipe gets each response that differs.

    Args:
        model: the model behind ``call``, for its versions.
        call: runs the query once.
        form: output format for a pipe.
        seconds: pause between a response and the next call.
        label: that the address names instead of a version.

    Raises:
        GradwireError: an error that waiting does not cure.
    """
    version = partial(_version, model, label)
    with suppress(KeyboardInterrupt):
        if out.is_terminal and form is Format.TABLE:
            _to_terminal(version, call, seconds)
        _to_pipe(version, call, form, seconds)


def _to_terminal(version: Callable[[], str], call: Callable[[], Arrays], seconds: float) -> NoReturn:
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        last: Arrays | None = None
        while True:
            try:
                now = call()
                caption = f"{version()}, {_clock()}{'' if last is None else _change(last, now)}"
                live.update(points_table(now, caption), refresh=True)
                last = now
            except TRANSIENT as error:
                shown = points_table(last, "last response") if last is not None else plain("")
                live.update(Group(shown, plain(f"{_clock()}: {error}")), refresh=True)
            time.sleep(seconds)


def _to_pipe(version: Callable[[], str], call: Callable[[], Arrays], form: Format, seconds: float) -> NoReturn:
    shown = printer(form)
    last: Arrays | None = None
    while True:
        try:
            now = call()
            if last is None or _differ(last, now):
                note(f"{_clock()}: {version()}")
                shown.block(now)
                if form in (Format.TABLE, Format.JSON):
                    shown.end()
                    shown = printer(form)
            last = now
        except TRANSIENT as error:
            note(f"{_clock()}: {error}")
        time.sleep(seconds)


def _version(model: Model, label: str | None) -> str:
    """The version that responds: the newest available one, unless the address names another."""
    if model.version is not None:
        return f"version {model.version}"
    if label is not None:
        return f"label {label!r}"
    try:
        available = [row.version for row in model.status() if row.state == "AVAILABLE"]
    except GradwireError:
        return "version unknown"
    return f"version {available[0]}" if available else "no version available"


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _differ(last: Arrays, now: Arrays) -> bool:
    return last.keys() != now.keys() or any(last[name].tobytes() != now[name].tobytes() for name in now)


def _change(last: Arrays, now: Arrays) -> str:
    """The largest change since the last response."""
    with np.errstate(invalid="ignore"):
        changes = {
            name: float(np.nanmax(np.abs(now[name] - last[name]), initial=0.0))
            for name in now
            if name in last and now[name].shape == last[name].shape and now[name].dtype.kind == "f"
        }
    largest = max(changes, key=changes.__getitem__, default=None)
    return "" if largest is None or not changes[largest] else f", {largest} changed by {changes[largest]:.3g}"
