"""``gradwire batch``: a model over a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gradwire._cli.console import note, say
from gradwire._cli.io import open_model
from gradwire._cli.progress import rows_progress
from gradwire._errors import UsageError

NAME: Final = "batch"


def command(
    points: Annotated[Path, typer.Argument(help="Parquet file with a column for each input.")],
    to: Annotated[Path, typer.Argument(help="Parquet file to write: the same rows, with f, df_dx, … beside them.")],
    model: Annotated[str | None, typer.Option(help="A package's directory, run in process.")] = None,
    server: Annotated[str | None, typer.Option(help="An address, such as localhost:8500.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name at the address.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Compute values and derivatives for every row of a file.

    Example: [bold]gradwire batch points.parquet out.parquet --model models/log[/bold]
    """
    if (model is None) == (server is None) or (server is None) != (name is None):
        raise UsageError("name where the model is: --model models/log, or --server localhost:8500 --name log")
    from gradwire import batch  # needs pyarrow, and says so

    source = batch.ParquetSource(points)
    with open_model(model or server or "", name) as opened:
        sink = batch.ParquetSink(to, overwrite=overwrite)
        with rows_progress(source.rows) as progress:
            result = batch.run(opened, source, sink, on_progress=progress)
    note(f"{result.rows} rows in {result.seconds:.1f} s, columns added: {', '.join(result.columns)}")
    say(str(to))
