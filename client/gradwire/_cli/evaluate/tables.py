"""The tables of ``gradwire evaluate``: the errors of rows that are trusted, or inside of the domain, and of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gradwire._cli.console import note, number, table
from gradwire._evaluate import Evaluation, TensorErrors
from gradwire._package import COVERAGE

MOST_UNLABELLED: Final = 12  # names in a line


def show_evaluation(evaluation: Evaluation, *, baseline: str = "") -> None:
    """Print an evaluation as tables, and what was not measured, to standard error.

    Args:
        evaluation: the errors.
        baseline: the other model, for a heading.
    """
    for part, rows in parts_of(evaluation):
        _table(f"errors of {evaluation.model} against {evaluation.against}: {rows}", evaluation, part)
    if baseline:
        _baseline_table(f"all rows, beside {baseline}", evaluation)
    if evaluation.unlabelled:
        names, more = evaluation.unlabelled[:MOST_UNLABELLED], len(evaluation.unlabelled) - MOST_UNLABELLED
        note(f"not measured, for no column has their labels: {', '.join(names)}{f' and {more} more' * (more > 0)}")
    if evaluation.left_out:
        note(f"columns left out: {', '.join(evaluation.left_out)}")


def parts_of(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the parts of the rows that have a table each, and how they are called: by trust, or else by the domain."""
    rows, outside, untrusted = evaluation.rows, evaluation.outside, evaluation.untrusted
    parts = [("inside", rows - outside, "inside of the domain"), ("outside", outside, "outside of the domain")]
    if untrusted is not None:
        beyond = f", {outside:,} outside of the domain" if outside else ""
        parts = [("trusted", rows - untrusted, "trusted"), ("untrusted", untrusted, f"not trusted{beyond}")]
    every = ", all" if rows in (count for _, count, _ in parts) else ""
    return [(part, f"{_rows(count)}{every} {which}") for part, count, which in parts if count]


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''}"


def _table(title: str, evaluation: Evaluation, part: str) -> None:
    has_units = any(each.unit for each in evaluation.tensors)
    has_bars = any(each.parts()[part].covered is not None for each in evaluation.tensors)
    columns = ["error of", *["unit"] * has_units, "rmse", "max", "in row", "rmse /\nspread", "labels"]
    columns += [f"inside the\n{COVERAGE:.0%} bars"] * has_bars
    table(title, columns, [list(_row(each, part, has_units, has_bars)) for each in evaluation.tensors])


def _row(each: TensorErrors, part: str, has_units: bool, has_bars: bool) -> Iterator[str]:
    errors = each.parts()[part]
    yield each.name
    if has_units:
        yield each.unit or "-"
    yield from (number(errors.rmse), number(errors.max), "-" if errors.row is None else str(errors.row))
    yield number(each.relative(errors))
    yield f"{errors.labels:,}" + (f", {errors.undefined:,} not finite" if errors.undefined else "")
    if has_bars:
        yield "-" if errors.covered is None else f"{errors.covered:.1%}"


def _baseline_table(title: str, evaluation: Evaluation) -> None:
    rows = [
        [each.name, *map(number, (ratio.baseline, ratio.rmse, ratio.ratio, ratio.by_chance))]
        for each in evaluation.tensors
        if (ratio := each.ratio) is not None
    ]
    table(title, ("rmse of", "baseline", "now", "ratio", "by chance\nup to"), rows)
