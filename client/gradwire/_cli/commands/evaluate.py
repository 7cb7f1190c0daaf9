"""``gradwire evaluate``: a model's errors on rows of labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gradwire._cli.arguments import DecimalMark, expand_options
from gradwire._cli.console import note, say
from gradwire._cli.evaluate import evaluation_page, show_evaluation
from gradwire._cli.io import Connection, is_local, open_model, read_columns, read_derivatives, split_quoted
from gradwire._cli.progress import progress
from gradwire._errors import UsageError
from gradwire._evaluate import Evaluation, evaluate
from gradwire._package import strict_json

NAME: Final = "evaluate"


@expand_options
def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET [NAME] FILE",
            help="Directory of a package, or address and name of a served model; then a file of inputs and labels, whose "
            "columns have the package's names or aliases.",
            show_default=False,
        ),
    ],
    connection: Connection,
    inputs: Annotated[str | None, typer.Option(help="NAME=COLUMN,…: inputs whose columns have other names.")] = None,
    outputs: Annotated[str | None, typer.Option(help="NAME=COLUMN,…: outputs, likewise.")] = None,
    derivatives: Annotated[
        str | None,
        typer.Option(
            help="NAME=OUTPUT:INPUT,…: columns of derivatives, such as delta=px:S0, vega=0.01*px:vol; or "
            "NAME=COLUMN=OUTPUT:INPUT."
        ),
    ] = None,
    ignore: Annotated[str | None, typer.Option(help="Columns to leave out, such as run,weight.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Directory of another package, to compare with on the same rows.")
    ] = None,
    decimal: DecimalMark = ".",
    json: Annotated[bool, typer.Option("--json", help="Print the errors as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the tables, with parity plots, to a self-contained HTML file.")
    ] = None,
) -> None:
    """Measure a model's errors on rows whose values, and derivatives, are known; inside and outside of its domain.

    Example: [bold]gradwire evaluate models/wing holdout.parquet[/bold]

    Example: [bold]gradwire evaluate localhost:8500 wing holdout.csv --inputs "mach=Mach number"[/bold]
    """
    target, name, rows = _parts(words)
    with ExitStack() as stack:
        model = stack.enter_context(open_model(target, name, connection=connection, pinned=True))
        other = None if baseline is None else stack.enter_context(open_model(baseline, None))
        report = stack.enter_context(progress("rows"))
        evaluation = evaluate(
            model,
            rows,
            baseline=other,
            inputs=read_columns("inputs", inputs),
            outputs=read_columns("outputs", outputs),
            derivatives=read_derivatives("derivatives", derivatives),
            ignore=[] if ignore is None else split_quoted("ignore", ignore),
            decimal=decimal,
            on_progress=lambda done, total: report(done, total, ""),
        )
    if html is not None:
        evaluation_page(html, evaluation, target=target, baseline=baseline or "")
        note(f"see {html}")
    if json:
        say(strict_json(_json(evaluation, target, baseline)).rstrip())
    else:
        show_evaluation(evaluation, baseline=baseline or "")


def _parts(words: Sequence[str]) -> tuple[str, str | None, str]:
    """Return target, name and file."""
    match words:
        case [target, rows] if is_local(target):
            return target, None, rows
        case [target, name, rows]:
            return target, name, rows
        case [target, _]:
            raise UsageError(
                f"{target} is not a directory; for an address name the model and the file too: {target} NAME FILE"
            )
        case _:
            raise UsageError(f"got {' '.join(words)!r}, expected TARGET [NAME] FILE, such as models/wing holdout.csv")


def _json(evaluation: Evaluation, target: str, baseline: str | None) -> dict[str, Any]:
    return {"target": target, "baseline": baseline} | evaluation.to_dict()
