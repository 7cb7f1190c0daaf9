"""What the commands that fit print at their end: errors, time, and the optimiser's story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gradwire._cli.console import note, number, say, table

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS: Final = ("error of", "unit", "max", "rmse", "rmse / spread")


def show_outcome(report: Any, *, to: Path) -> None:
    """Prints the table of a fit, and where its files lie.

    Args:
        report: what ``gradwire_training.report`` gave.
        to: the result's directory.
    """
    summary = report.summary
    note(f"{summary.message}, in {summary.seconds:.1f} s")
    if summary.choice:
        note(f"  auto picked {summary.choice}")
    for phase in summary.phases:
        note(f"  {phase}")
    rows = [
        (row.name, row.unit or "-", number(row.max), number(row.rmse), number(row.relative)) for row in summary.errors
    ]
    table(f"errors against {summary.against}", COLUMNS, rows)
    note(f"look at {report.page}, {', '.join(path.name for path in report.pictures)}")
    say(str(to))
