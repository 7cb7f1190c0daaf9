"""The tables of ``gradwire train``: the built-in problems, and the summary of a fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import typer

from gradwire._cli.console import note, number, say, table
from gradwire._cli.lazy_imports import import_heavy

PROBLEM_COLUMNS: Final = ("problem", "inputs -> outputs", "function", "samples", "source")
MOST_UNMEASURED: Final = 12  # derivatives without an error in the table of the command; the card has all
ERROR_COLUMNS: Final = (
    "error of",
    "unit",
    "max",
    "rmse",
    "rmse /\nspread",
    "training\nrmse",
    "labels",
)  # 80 characters


def show_problems(requested: bool) -> None:
    """Print a row per built-in problem and end the command; the callback of ``--list``."""
    if not requested:
        return
    problems = import_heavy("gradwire_training").problems
    table("", PROBLEM_COLUMNS, [_problem_row(problems.get(name)) for name in problems.names()], text=True)
    note(
        "rosenbrock and styblinski-tang have any number of dimensions: rosenbrock-5, styblinski-tang-3\n"
        "next: gradwire train black-scholes --to build/black-scholes"
    )
    raise typer.Exit


def _problem_row(problem: Any) -> tuple[str, ...]:
    truth = problem.truth
    columns = f"{_columns(truth.inputs)} -> {_columns(truth.outputs)}"
    labels = "" if problem.simulate is None else ", simulated"
    function = f"{truth.formula} on {truth.where}; with {truth.derivative_formula}"
    return problem.name, columns, function, f"{problem.count}, {problem.spacing}{labels}", truth.source


def _columns(quantities: Iterable[Any]) -> str:
    return ", ".join(_column(quantity) for quantity in quantities)


def _column(quantity: Any) -> str:
    """``spot [USD]``, ``positions (5, 3) [sigma]``, ``x``."""
    rows = "" if quantity.shape == (1,) else f" ({', '.join(map(str, quantity.shape))})"
    return f"{quantity.name}{rows}" + ("" if quantity.unit == "1" else f" [{quantity.unit}]")


def show_summary(report: Any, *, to: Path) -> None:
    """Print the errors of a fit and where its files are.

    Args:
        report: a ``gradwire_training.Report``.
        to: the result's directory.
    """
    summary = report.summary
    note(f"{summary.message}, in {summary.seconds:.1f} s")
    if summary.choice:
        note(f"  auto selected {summary.choice}")
    for phase in summary.phases:
        note(f"  {phase}")
    rows, columns = list(_error_rows(summary)), ERROR_COLUMNS
    if all(row[1] == "-" for row in rows):  # no unit is known
        rows, columns = [(row[0], *row[2:]) for row in rows], (columns[0], *columns[2:])
    table(f"errors against {summary.against}", columns, rows)
    if summary.changes:
        changes = [(row.name, *map(number, (row.before, row.after, row.ratio))) for row in summary.changes]
        title = f"{summary.origin} before, and this fit, on the same rows"
        table(title, ("rmse of", "before", "after", "after / before"), changes)
    for line in summary.notes:
        note(line)
    note(f"see {report.page}, {', '.join(path.name for path in report.pictures)}")
    say(str(to))


def _error_rows(summary: Any) -> Iterator[tuple[str, ...]]:
    for row in summary.errors:
        errors = (row.max, row.rmse, row.relative, row.training_rmse)
        yield row.name, row.unit or "-", *map(number, errors), row.labels
    for row in summary.unmeasured[:MOST_UNMEASURED]:
        yield row.name, row.unit or "-", "-", "-", "-", number(row.training_rmse), row.labels
    if more := summary.unmeasured[MOST_UNMEASURED:]:
        yield f"{len(more)} more", "-", "-", "-", "-", "-", " or ".join(dict.fromkeys(row.labels for row in more))
