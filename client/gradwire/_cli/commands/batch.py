"""``gradwire batch``: values and derivatives for every row of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gradwire._cli.arguments import DecimalMark, expand_options
from gradwire._cli.console import note, say
from gradwire._cli.io import Connection, open_model
from gradwire._cli.progress import progress
from gradwire._errors import UsageError

NAME: Final = "batch"


@expand_options
def command(
    points: Annotated[Path, typer.Argument(help="File with a column per input, such as points.parquet or points.csv.")],
    connection: Connection,
    to: Annotated[Path, typer.Argument(help="Parquet file to write: the same rows with columns f, df_dx, … added.")],
    model: Annotated[str | None, typer.Option(help="Directory of a package, to run in this process.")] = None,
    server: Annotated[str | None, typer.Option(help="Server address, such as localhost:8500.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model on the server.")] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Add error bars (f_std, df_dx_std), and whether to trust a row.")
    ] = False,
    decimal: DecimalMark = ".",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Compute values and derivatives for every row of a file.

    Example: [bold]gradwire batch points.parquet out.parquet --model models/log[/bold]
    """
    if (model is None) == (server is None) or (server is None) != (name is None):
        raise UsageError("where is the model? give --model models/log, or --server localhost:8500 --name log")
    from gradwire import batch

    source = batch.open_source(points, decimal=decimal)
    with open_model(model or server or "", name, connection=connection) as opened:
        sink = batch.open_sink(to, overwrite=overwrite)
        with progress("rows") as report:
            report(0, source.rows, "")
            result = batch.run(
                opened, source, sink, uncertainty=uncertainty, on_progress=lambda done, total: report(done, total, "")
            )
    by = "" if result.version is None else f" by version {result.version}"
    note(f"{result.rows:,} rows{by} in {result.seconds:.1f} s; added columns: {', '.join(result.columns)}")
    say(str(to))
