"""``gradwire query``: values and derivatives at given points."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli.choices import Compute, Format
from gradwire._cli.io import STDIN, is_table, open_model, open_table, printer, read_blocks, read_points
from gradwire._cli.query import ask
from gradwire._errors import InputNameError, UsageError
from gradwire._package import contract

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._cli.query import Question
    from gradwire._model import Model

    Arrays = dict[str, NDArray[Any]]

NAME: Final = "query"
BLOCK: Final = 16_384  # rows: a tenth of a second of reading CSV, and a megabyte or so


def command(
    target: Annotated[str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="NAME=POINTS: ';' between points, ',' within one; or NAME=@file.csv; or a table of all inputs, @FILE, "
            "'-' for standard input: CSV with column names, or JSON lines.",
        ),
    ] = None,
    compute: Annotated[
        Compute,
        typer.Option(help="What to ask for; jvp and hvp take --tangent, vjp takes --cotangent."),
    ] = Compute.GRAD,
    tangent: Annotated[
        list[str] | None, typer.Option(help="INPUT=NUMBERS for jvp and hvp; those left out are zero.")
    ] = None,
    cotangent: Annotated[
        list[str] | None, typer.Option(help="OUTPUT=NUMBERS for vjp; those left out are zero.")
    ] = None,
    signature: Annotated[
        str | None, typer.Option(help="Instead of --compute, any signature of the package, as it stands.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="How to print the answer: table, or csv for a table of points.")
    ] = None,
    block: Annotated[
        int, typer.Option(min=1, help="Rows of a table to send at once; 1 answers a slow pipe line by line.")
    ] = BLOCK,
    watch: Annotated[
        float | None, typer.Option(help="Ask again every so many seconds, until Ctrl-C.", show_default=False)
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the answer.")] = None,
) -> None:
    """Ask a model for its values and derivatives.

    Example: [bold]gradwire query localhost:8500 log --input "x=0.5; 1.0; 1.5"[/bold]
    Example: [bold]gradwire query localhost:8500 log --compute jvp --input x=0.5 --tangent x=1[/bold]
    Example: [bold]cat points.csv | gradwire query localhost:8500 log --input - --format csv[/bold]
    """
    _check_directions(compute, signature, tangent, cotangent)
    given = [
        *(inputs or []),
        *_suffixed(tangent, contract.TANGENT),
        *_suffixed(cotangent, contract.COTANGENT),
    ]
    tables = [text for text in given if is_table(text)]
    typed = [text for text in given if not is_table(text)]
    if len(tables) > 1:
        raise UsageError(f"--input has {len(tables)} tables, {tables}: give one, and the other inputs as NAME=POINTS")
    if watch is not None:
        _check_watch(watch, target, tables)
    form = format or (Format.CSV if tables else Format.TABLE)
    with _closed_pipe(), open_model(target, name, timeout=timeout) as model:
        if watch is not None:
            from gradwire._cli.query import watch as keep_asking

            keep_asking(model, lambda: _points(model, ask(model, compute, signature), typed), form, watch)
            return
        question = ask(model, compute, signature)
        if tables:
            _answer_table(model, question, tables[0], typed, form, block)
        else:
            shown = printer(form)
            shown.block(_points(model, question, typed))
            shown.end()


def _suffixed(texts: Sequence[str] | None, ending: str) -> list[str]:
    """``x=1`` as ``x_dot=1``: the name of the tensor that it is for."""
    parts = [text.partition("=") for text in texts or []]
    return [f"{name.strip()}{ending}{equals}{value}" for name, equals, value in parts]


def _check_directions(
    compute: Compute, signature: str | None, tangent: Sequence[str] | None, cotangent: Sequence[str] | None
) -> None:
    wanted = (("tangent", tangent, (Compute.JVP, Compute.HVP)), ("cotangent", cotangent, (Compute.VJP,)))
    for option, given, takers in wanted:
        if given and signature is None and compute not in takers:
            words = " or ".join(f"--compute {taker}" for taker in takers)
            raise UsageError(f"--{option} goes with {words}, and got --compute {compute}")


def _check_watch(seconds: float, target: str, tables: Sequence[str]) -> None:
    if not seconds > 0:
        raise UsageError(f"--watch {seconds}, expected seconds, more than 0")
    if Path(target).is_dir():
        raise UsageError(f"--watch asks a server again and again, and {target} is a directory: give an address")
    if tables:
        raise UsageError("--watch asks for the same points again, and a table can be read once: give NAME=POINTS")


@contextmanager
def _closed_pipe() -> Generator[None]:
    """Ends quietly when whoever reads the answer has seen enough: ``… | head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        raise typer.Exit from None


def _points(model: Model, question: Question, texts: Sequence[str]) -> Arrays:
    """What was asked, and its answer."""
    if not texts:
        raise InputNameError(f"no points: give --input for {list(question.signature.inputs)}")
    return _call(model, question, _typed(question, texts))


def _answer_table(model: Model, question: Question, table: str, typed: Sequence[str], form: Format, block: int) -> None:
    constants = _typed(question, typed)
    long = {name: len(rows) for name, rows in constants.items() if len(rows) > 1}
    if long:
        raise UsageError(f"beside a table other inputs have one point, for every row of it, and got {long}")
    specs = {name: spec for name, spec in question.signature.inputs.items() if name not in constants}
    needed = [name for name in specs if name not in question.seeds]
    shown = printer(form)
    with open_table(table) as stream:
        if table == STDIN and stream.isatty():
            raise UsageError("--input - reads standard input, which is a terminal: pipe a table into it")
        for points in read_blocks(stream, specs, needed, block):
            shown.block(_call(model, question, points | constants))
    shown.end()


def _typed(question: Question, texts: Sequence[str]) -> Arrays:
    """The inputs that stand on the command line."""
    names = {text.partition("=")[0].strip() for text in texts}
    specs = {name: spec for name, spec in question.signature.inputs.items() if name in names}
    if names - specs.keys():
        raise InputNameError(
            f"sent extra: {sorted(names - specs.keys())}; the signature {question.signature.name!r} takes "
            f"{list(question.signature.inputs)}"
        )
    return dict(read_points(texts, replace(question.signature, inputs=specs))) if texts else {}


def _call(model: Model, question: Question, points: Mapping[str, NDArray[Any]]) -> Arrays:
    rows = question.complete(points)
    found = model.run(question.signature.name, rows, question.shown)
    return rows | {name: found[name] for name in question.shown}
