"""``gradwire bench``: throughput and latency of a model as it is served."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gradwire._cli.arguments import (
    DEFAULT_COMPUTE,
    ModelName,
    ReportFormat,
    Seed,
    Target,
    compute_option,
    expand_options,
)
from gradwire._cli.choices import Report
from gradwire._cli.console import number, say, table
from gradwire._cli.io import Connection, open_model, read_counts
from gradwire._cli.query import LoadTestResult, draw_points, resolve_query, run_load_test
from gradwire._errors import UsageError
from gradwire._package import strict_json

NAME: Final = "bench"
ROWS: Final = "1,64,4096"
IN_FLIGHT: Final = "1,4,16"
SECONDS: Final = 10.0  # a second for each of the nine loads, and a little for the first calls
COLUMNS: Final = ("rows", "in flight", "calls", "calls/s", "rows/s", "p50 ms", "p99 ms", "max ms")


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    compute: Annotated[str, compute_option("What to compute.")] = DEFAULT_COMPUTE,
    rows: Annotated[str, typer.Option(help="Rows per call, separated by commas.")] = ROWS,
    in_flight: Annotated[str, typer.Option(help="Concurrent calls, separated by commas.")] = IN_FLIGHT,
    seconds: Annotated[float, typer.Option(help="Duration of the whole benchmark.")] = SECONDS,
    seed: Seed = 0,
    format: ReportFormat = Report.TABLE,  # noqa: A002 - the option's name
) -> None:
    """Measure how fast a model responds: calls and rows per second, and latencies.

    All calls come from threads of this one process: at high rates its own overhead is part of the measurement.

    Example: [bold]gradwire bench localhost:8500 log[/bold]
    Example: [bold]gradwire bench localhost:8500 log --compute hessian --rows 1,1000 --in-flight 8 --seconds 4[/bold]
    """
    if not seconds > 0:
        raise UsageError(f"--seconds {seconds}, expected more than 0")
    sizes = [(count, width) for count in read_counts("rows", rows) for width in read_counts("in-flight", in_flight)]
    with open_model(target, name, connection=connection, pinned=True) as model:
        query = resolve_query(model, compute)
        points = draw_points(model, query, max(count for count, _ in sizes), seed)
        results = [
            run_load_test(
                model,
                query,
                {name: array[:count] for name, array in points.items()},
                in_flight=width,
                seconds=seconds / len(sizes),
            )
            for count, width in sizes
        ]
        title = f"{compute} of {model!r}"
    if format is Report.JSON:
        say(strict_json({"compute": compute, "loads": [result.to_dict() for result in results]}).rstrip())
    else:
        table(title, COLUMNS, [_row(result) for result in results])


def _row(result: LoadTestResult) -> list[str]:
    rate = result.calls_per_second
    return [
        f"{result.rows:,}",
        str(result.in_flight),
        f"{result.calls:,}",
        f"{rate:,.0f}" if rate >= 1 else number(rate),
        f"{rate * result.rows:,.0f}",
        *(number(1e3 * result.quantile(fraction)) for fraction in (0.5, 0.99, 1.0)),
    ]
