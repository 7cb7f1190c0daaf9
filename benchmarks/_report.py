"""Tables of results: printed, and on request written as JSON and Markdown."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SOFTWARE = ("gradwire", "tensorflow", "keras", "numpy", "scipy")


@dataclass(frozen=True)
class Measured:
    """One quantity, measured several times."""

    values: tuple[float, ...]
    unit: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if len(self.values) == 1:
            return f"{self.median:.3g}{unit}"
        return f"{self.median:.3g}{unit} ({min(self.values):.3g} to {max(self.values):.3g})"


@dataclass(frozen=True)
class Report:
    """A table: a title, what was done, column names, and rows whose cells are text or Measured."""

    name: str
    title: str
    method: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Measured]]
    data: Any = None  # what the cells were made of, for the JSON alone

    def markdown(self) -> str:
        """The table as Markdown, which is also what is printed."""
        cells = [list(self.columns), *([str(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[index]) for row in cells) for index in range(len(self.columns))]
        lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([f"## {self.title}", "", self.method, "", *lines, ""])

    def show(self, *, write: bool) -> None:
        """Print the table, and write it too on request."""
        print(self.markdown())
        if not write:
            return
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text(f"{self.markdown()}\n{_machine_line()}\n", encoding="utf-8")
        rows = [[_plain(cell) for cell in row] for row in self.rows]
        text = json.dumps({**asdict(self), "rows": rows, "machine": _machine()}, indent=1)
        (RESULTS / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")


def _plain(cell: str | Measured) -> str | dict[str, Any]:
    """A cell for JSON: every value measured, to four significant digits."""
    if isinstance(cell, str):
        return cell
    return {
        "median": cell.median,
        "unit": cell.unit,
        "values": [float(f"{value:.4g}") for value in cell.values],
    }


def _machine() -> dict[str, Any]:
    versions = {name: version(name) for name in SOFTWARE}
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def _machine_line() -> str:
    return "Machine: " + ", ".join(f"{name} {value}" for name, value in _machine().items()) + "."
