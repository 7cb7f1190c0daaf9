"""``gradwire bench``: rates and latencies of a model as it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from gradwire._cli.choices import Compute, Report
from gradwire._cli.console import number, say, table
from gradwire._cli.io import open_model
from gradwire._cli.load_test import Load, points_for, put_load
from gradwire._cli.query import ask
from gradwire._errors import UsageError
from gradwire._package import strict_json

if TYPE_CHECKING:
    from gradwire._model import Model

NAME: Final = "bench"
ROWS: Final = "1,64,4096"
IN_FLIGHT: Final = "1,4,16"
SECONDS: Final = 10.0  # a second for each of the nine, and a bit for the first calls
COLUMNS: Final = ("rows", "in flight", "calls", "calls/s", "rows/s", "p50 ms", "p99 ms", "max ms")


def command(
    target: Annotated[str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    compute: Annotated[Compute, typer.Option(help="What to ask for.")] = Compute.GRAD,
    rows: Annotated[str, typer.Option(help="Rows of a call, with commas between several.")] = ROWS,
    in_flight: Annotated[str, typer.Option(help="Calls under way at once, with commas between several.")] = IN_FLIGHT,
    seconds: Annotated[float, typer.Option(help="For all of it.")] = SECONDS,
    seed: Annotated[int, typer.Option(help="Of the points, which are random in the card's domain.")] = 0,
    format: Annotated[Report, typer.Option(help="How to print what was found.")] = Report.TABLE,  # noqa: A002 - the option's name
) -> None:
    """Measure how fast a model answers: calls and rows a second, and how long a call takes.

    The calls come from threads of this one process, so that at high rates its own Python is part of what is measured.

    Example: [bold]gradwire bench localhost:8500 log[/bold]
    Example: [bold]gradwire bench localhost:8500 log --compute hessian --rows 1,1000 --in-flight 8 --seconds 4[/bold]
    """
    if not seconds > 0:
        raise UsageError(f"--seconds {seconds}, expected more than 0")
    wanted = [(count, width) for count in _numbers("rows", rows) for width in _numbers("in-flight", in_flight)]
    with open_model(target, name) as model:
        loads = _measure(model, compute, wanted, seconds, seed)
        title = f"{compute} of {model!r}"
    if format is Report.JSON:
        say(strict_json({"compute": compute.value, "loads": [load.to_dict() for load in loads]}).rstrip())
    else:
        table(title, COLUMNS, [_row(load) for load in loads])


def _measure(model: Model, compute: Compute, wanted: list[tuple[int, int]], seconds: float, seed: int) -> list[Load]:
    question = ask(model, compute)
    points = points_for(model, question, max(count for count, _ in wanted), seed)
    return [
        put_load(
            model,
            question,
            {name: array[:count] for name, array in points.items()},
            in_flight=width,
            seconds=seconds / len(wanted),
        )
        for count, width in wanted
    ]


def _row(load: Load) -> list[str]:
    return [
        f"{load.rows:,}",
        str(load.in_flight),
        f"{load.calls:,}",
        f"{load.calls_per_second:,.0f}" if load.calls_per_second >= 1 else number(load.calls_per_second),
        f"{load.calls_per_second * load.rows:,.0f}",
        *(number(1e3 * load.quantile(q)) for q in (0.5, 0.99, 1.0)),
    ]


def _numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise UsageError(f"--{option} {text!r}: expected different whole numbers from 1, such as 1,64,4096")
    return numbers
