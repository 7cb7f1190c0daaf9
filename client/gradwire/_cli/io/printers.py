"""Answers as a table, as JSON, as JSON lines, and as CSV, with the contract's names over the columns."""

from __future__ import annotations

import csv
import json
import math
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol, final

import numpy as np

from gradwire._cli.choices import Format
from gradwire._cli.console import out, plain, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from rich.table import Table

    Arrays = Mapping[str, NDArray[Any]]


class Printer(Protocol):
    """Prints an answer that comes in blocks of rows."""

    def block(self, arrays: Arrays) -> None:
        """Takes the next rows: ``{name: (rows, …)}``."""
        ...

    def end(self) -> None:
        """Prints what is left."""
        ...


@final
class CsvPrinter:
    """A header, then a line a row; nothing is held."""

    def __init__(self) -> None:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._has_header = False

    def block(self, arrays: Arrays) -> None:
        """Prints the rows."""
        if not self._has_header:
            self._writer.writerow([label for name, array in arrays.items() for label in labels(name, array.shape[1:])])
            self._has_header = True
        columns = [array.reshape(len(array), -1).astype(np.str_) for array in arrays.values()]
        self._writer.writerows(np.concatenate(columns, axis=1).tolist())
        sys.stdout.flush()

    def end(self) -> None:
        """Has nothing left."""


@final
class LinesPrinter:
    """A JSON object a row, on a line of its own; nothing is held."""

    def block(self, arrays: Arrays) -> None:
        """Prints the rows."""
        columns = {name: strict(shortest(squeeze(array))) for name, array in arrays.items()}
        for row in zip(*columns.values(), strict=True):
            sys.stdout.write(json.dumps(dict(zip(columns, row, strict=True)), allow_nan=False) + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Has nothing left."""


@final
class WholePrinter:
    """What can be printed only when all of it is there: a table, or one JSON object of columns.

    Args:
        form: which of them.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self._blocks: list[Arrays] = []

    def block(self, arrays: Arrays) -> None:
        """Holds the rows."""
        self._blocks.append(arrays)

    def end(self) -> None:
        """Prints all rows."""
        arrays = {name: np.concatenate([block[name] for block in self._blocks]) for name in self._blocks[0]}
        if self._form is Format.JSON:
            columns = {name: strict(shortest(squeeze(array))) for name, array in arrays.items()}
            say(json.dumps(columns, allow_nan=False))
        else:
            out.print(answer_table(arrays))


def printer(form: Format) -> Printer:
    """Makes the printer of a format."""
    if form is Format.CSV:
        return CsvPrinter()
    return LinesPrinter() if form is Format.JSONL else WholePrinter(form)


def answer_table(arrays: Arrays, caption: str = "") -> Table:
    """Makes a table, a row a point."""
    from rich.table import Table

    shown = Table(caption=plain(caption) if caption else None, caption_justify="left")
    for index, name in enumerate(arrays):
        shown.add_column(plain(name), justify="left" if index == 0 else "right", overflow="fold")
    for row in range(len(next(iter(arrays.values())))):
        shown.add_row(*(plain(_cell(array[row])) for array in arrays.values()))
    return shown


def labels(name: str, row_shape: Sequence[int]) -> list[str]:
    """Names the columns of a tensor: ``x``; or ``x[0]``, ``x[1]`` and so on."""
    if tuple(row_shape) in ((), (1,)):
        return [name]
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*row_shape)]


def squeeze(array: NDArray[Any]) -> NDArray[Any]:
    """Leaves out the axis of a one-number row."""
    return array[:, 0] if array.shape[1:] == (1,) else array


def shortest(array: NDArray[Any]) -> Any:
    """The doubles with the fewest digits that stand for the array's own numbers: 0.1 for the float32 next to it."""
    if array.dtype.kind != "f":
        return [entry.decode(errors="replace") if isinstance(entry, bytes) else entry for entry in array.tolist()]
    return array.astype(np.str_).astype(np.float64).tolist()


def strict(value: Any) -> Any:
    """Writes what JSON has no number for as text, as protobuf's JSON does."""
    if isinstance(value, list):
        return [strict(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType] - tolist() is untyped
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


THRESHOLD: Final = 16  # numbers of a cell; beyond, dots stand for the middle


def _cell(row: NDArray[Any]) -> str:
    return str(row.reshape(-1)[0]) if row.size == 1 else np.array2string(row, separator=", ", threshold=THRESHOLD)
