"""``gradwire query``: values and derivatives at given points."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from numpy.typing import NDArray

from gradwire._cli.arguments import DEFAULT_COMPUTE, DecimalMark, ModelName, Target, compute_option, expand_options
from gradwire._cli.choices import Format
from gradwire._cli.console import note
from gradwire._cli.io import (
    BLOCK,
    Connection,
    is_local,
    is_table,
    open_model,
    printer,
    read_blocks,
    read_points,
    what_is,
)
from gradwire._cli.query import DIRECTION_OPTIONS, Query, check_direction_options, resolve_query, watch_query
from gradwire._errors import InputNameError, UsageError
from gradwire._model import Model, package_of
from gradwire._package import Part

Arrays = dict[str, NDArray[Any]]

NAME: Final = "query"


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="NAME=POINTS, with ';' between points and ',' within one, or NAME=@file.csv; or a table of all inputs, "
            "@FILE or '-' for standard input: CSV with column names, or JSON lines; a file may be Parquet, Arrow, JSON, "
            "NPZ or extended XYZ, too.",
        ),
    ] = None,
    compute: Annotated[
        str,
        compute_option(
            "What to compute; jvp and hvp take --tangent, vjp takes --cotangent, solve takes the target as --input."
        ),
    ] = DEFAULT_COMPUTE,
    tangent: Annotated[
        list[str] | None, typer.Option(help="INPUT=NUMBERS, for jvp and hvp; omitted tangents are zero.")
    ] = None,
    cotangent: Annotated[
        list[str] | None, typer.Option(help="OUTPUT=NUMBERS, for vjp; omitted cotangents are zero.")
    ] = None,
    signature: Annotated[
        str | None, typer.Option(help="Call this signature of the package instead of one that --compute selects.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="Output format. Default: table, or csv when the points come from a table.")
    ] = None,
    block: Annotated[
        int, typer.Option(min=1, help="Rows of a table per call; 1 responds to a slow pipe line by line.")
    ] = BLOCK,
    decimal: DecimalMark = ".",
    watch: Annotated[float | None, typer.Option(help="Repeat the query every so many seconds, until Ctrl-C.")] = None,
) -> None:
    """Query a model for values and derivatives.

    Example: [bold]gradwire query localhost:8500 log --input "x=0.5; 1.0; 1.5"[/bold]
    Example: [bold]gradwire query localhost:8500 log --compute jvp --input x=0.5 --tangent x=1[/bold]
    Example: [bold]cat points.csv | gradwire query localhost:8500 log --input - --format csv[/bold]
    Example: [bold]gradwire query localhost:8500 option --compute solve --input price=12 --input spot=100[/bold]
    """
    directions = {Part.TANGENTS: tangent, Part.COTANGENTS: cotangent}
    if signature is None:
        check_direction_options(compute, directions)
    texts = [*(inputs or []), *(text for part, texts in directions.items() for text in _for_tensor(texts, part))]
    tables = [text for text in texts if is_table(text)]
    points = [text for text in texts if not is_table(text)]
    if len(tables) > 1:
        raise UsageError(f"--input has {len(tables)} tables, {tables}: give one, and the other inputs as NAME=POINTS")
    if watch is not None:
        _check_watch(watch, target, tables)
    form = format or (Format.CSV if tables else Format.TABLE)
    with _closed_pipe(), open_model(target, name, connection=connection, pinned=watch is None) as model:
        if watch is not None:
            watch_query(
                model,
                lambda: _call(model, resolve_query(model, compute, signature), points, decimal),
                form,
                watch,
                label=connection.label,
            )
            return
        query = resolve_query(model, compute, signature)
        note(f"answers of {package_of(model).address}")
        if tables:
            _call_with_table(model, query, tables[0], points, form, block, decimal)
        else:
            shown = printer(form)
            shown.block(_call(model, query, points, decimal))
            shown.end()


def _for_tensor(texts: Sequence[str] | None, part: Part) -> list[str]:
    """Rename ``x=1`` to ``x_dot=1``, the tensor that a direction is for."""
    parts = [text.partition("=") for text in texts or []]
    return [f"{DIRECTION_OPTIONS[part][1](name.strip())}{equals}{value}" for name, equals, value in parts]


def _check_watch(seconds: float, target: str, tables: Sequence[str]) -> None:
    if not seconds > 0:
        raise UsageError(f"--watch {seconds}, expected seconds, more than 0")
    if is_local(target):
        raise UsageError(f"--watch repeats a query to a server, and {target} is {what_is(target)}: give an address")
    if tables:
        raise UsageError("--watch repeats the same points, and a table can be read once: give NAME=POINTS")


@contextmanager
def _closed_pipe() -> Generator[None]:
    """End quietly when the reader of the output has closed it: ``… | head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        raise typer.Exit from None


def _call(model: Model, query: Query, texts: Sequence[str], decimal: str) -> Arrays:
    if not texts:
        raise InputNameError(f"no points: give --input for {list(query.signature.inputs)}")
    return query.call(model, _read(query, texts, decimal))


def _call_with_table(
    model: Model, query: Query, table: str, texts: Sequence[str], form: Format, block: int, decimal: str
) -> None:
    constants = _read(query, texts, decimal)
    long = {name: len(rows) for name, rows in constants.items() if len(rows) > 1}
    if long:
        raise UsageError(f"beside a table other inputs have one point, for every row of it, and got {long}")
    specs = {name: spec for name, spec in query.signature.inputs.items() if name not in constants}
    required = [name for name in specs if name not in query.directions]
    shown = printer(form)
    for rows in read_blocks(table, specs, required, block, decimal=decimal):
        shown.block(query.call(model, rows | constants))
    shown.end()


def _read(query: Query, texts: Sequence[str], decimal: str) -> Arrays:
    return dict(read_points(texts, query.signature.inputs, f"the signature {query.signature.name!r}", decimal=decimal))
