"""``gradwire train --list``: the problems that come along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gradwire._cli.console import note, table
from gradwire._cli.lazy_imports import heavy

if TYPE_CHECKING:
    from collections.abc import Iterable


def show_problems(wanted: bool) -> None:
    """Prints a row for each problem, and ends the command; the callback of ``--list``.

    Args:
        wanted: whether the option was given.

    Raises:
        Exit: always, where it was.
    """
    if not wanted:
        return
    problems = heavy("gradwire_training").problems
    table(
        "",
        ("problem", "inputs -> outputs", "what it is", "samples", "source"),
        [_row(problems.get(name)) for name in problems.names()],
        text=True,
    )
    note(
        "rosenbrock and styblinski-tang have any number of dimensions: rosenbrock-5, styblinski-tang-3\n"
        "next: gradwire train black-scholes --to build/black-scholes"
    )
    raise typer.Exit


def _row(problem: Any) -> tuple[str, ...]:
    truth = problem.truth
    columns = f"{_listed(truth.inputs)} -> {_listed(truth.outputs)}"
    labels = "" if problem.simulate is None else ", simulated"
    what = f"{truth.formula} on {truth.where}; with {truth.derivative_formula}"
    return problem.name, columns, what, f"{problem.count}, {problem.spacing}{labels}", truth.source


def _listed(quantities: Iterable[Any]) -> str:
    return ", ".join(_shown(quantity) for quantity in quantities)


def _shown(quantity: Any) -> str:
    """``spot [USD]``, ``positions (5, 3) [sigma]``, ``x``."""
    rows = "" if quantity.shape == (1,) else f" ({', '.join(map(str, quantity.shape))})"
    return f"{quantity.name}{rows}" + ("" if quantity.unit == "1" else f" [{quantity.unit}]")
