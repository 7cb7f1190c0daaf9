"""``gradwire diff``: the differences between two packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from gradwire._cli.arguments import ReportFormat, Seed, expand_options
from gradwire._cli.choices import Report
from gradwire._cli.console import number, say, table
from gradwire._cli.io import Connection, open_model, read_domain
from gradwire._errors import UsageError
from gradwire._model import Model
from gradwire._package import strict_json
from gradwire._verify import DEFAULT_DIFF_POINTS, Difference, diff

NAME: Final = "diff"
DIFFER: Final = 1  # the exit code of a check that failed
_SHOWN: Final = 60  # characters of a card's entry


@expand_options
def command(
    first: Annotated[str, typer.Argument(help="Directory of a package, or HOST:PORT/NAME of a served model.")],
    second: Annotated[str, typer.Argument(help="The package to compare with.")],
    connection: Connection,
    domain: Annotated[
        list[str] | None, typer.Option(help="NAME=LOWER:UPPER. Default: the intersection of the two domains.")
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="Number of random points.")] = DEFAULT_DIFF_POINTS,
    seed: Seed = 0,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Ignore differences up to this fraction of a tensor's largest magnitude.")
    ] = 0.0,
    format: ReportFormat = Report.TABLE,  # noqa: A002 - the option's name
) -> None:
    """Compare two packages: signatures, domain, errors, and the largest difference of values and derivatives.

    The exit code is 0 if a caller would not notice a difference, and 1 if one would. Options of the connection hold for
    every address.

    Example: [bold]gradwire diff models/log/1 models/log/2[/bold]   or   [bold]gradwire diff models/log
    localhost:8500/log[/bold]
    """
    if Path(first).exists() and Path(second).exists():
        connection.require_unused(f"{first} and {second}")
    with _open(first, connection) as one, _open(second, connection) as other:
        difference = diff(one, other, domain=read_domain(domain) or None, points=points, seed=seed)
    differs = difference.differs(tolerance)
    if format is Report.JSON:
        about = {"first": first, "second": second, "differs": differs, "tolerance": tolerance}
        say(strict_json(about | difference.to_dict()).rstrip())
    else:
        _show(difference, first, second)
        say("the packages differ" if differs else "a caller would not notice a difference")
    if differs:
        raise typer.Exit(DIFFER)


def _open(target: str, connection: Connection) -> Model:
    """Open ``models/log/1``, or ``localhost:8500/log``."""
    if Path(target).exists():
        return open_model(target, None)
    address, slash, name = target.rpartition("/")
    if not slash or ":" not in address:
        raise UsageError(
            f"{target} is not a directory, expected a package such as models/log/1 or a model at a server such as "
            "localhost:8500/log"
        )
    return open_model(address, name, connection=connection)


def _show(difference: Difference, first: str, second: str) -> None:
    if difference.card:
        rows = [[entry.what, _text(entry.first), _text(entry.second)] for entry in difference.card]
        table("cards", ("", first, second), rows, text=True)
    if difference.tensors:
        rows = [
            [
                entry.tensor,
                number(entry.largest),
                number(entry.relative),
                number(entry.ulps),
                _point(entry.at) if entry.largest else "-",
            ]
            for entry in difference.tensors
        ]
        columns = ("largest difference of", "absolute", "relative", "ulps", "at")
        table(f"tensors, at {difference.points} points of the common domain", columns, rows)
    if difference.unlike:
        say(difference.unlike)
    if difference.same_digest is not None:
        say(f"digests: {'equal' if difference.same_digest else 'different'}")


def _text(value: Any) -> str:
    text = "-" if value is None else number(value) if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _point(at: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name} = {_numbers(row)}" for name, row in at.items())
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def _numbers(row: Any) -> str:
    flat = [f"{value:.6g}" for value in np.ravel(row).tolist()]
    return flat[0] if len(flat) == 1 else f"[{', '.join(flat)}]"
