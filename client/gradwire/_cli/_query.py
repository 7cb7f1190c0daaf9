"""``gradwire query``: values and derivatives at given points."""

from __future__ import annotations

import csv
import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer

from gradwire import _contract as contract
from gradwire._cli._arguments import open_model, read_points
from gradwire._cli._console import say, table
from gradwire._cli._words import Format
from gradwire._results import default_signature, result_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

NAME: Final = "query"


def command(
    target: Annotated[
        str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")
    ],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=POINTS: ';' between points, ',' within one; or NAME=@file.csv."),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print the answer.")] = Format.TABLE,  # noqa: A002 - the option's name
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the answer.")] = None,
) -> None:
    """Ask a model for its values and derivatives.

    Example: [bold]gradwire query localhost:8500 log --input "x=0.5; 1.0; 1.5"[/bold]
    """
    with open_model(target, name, timeout=timeout) as model:
        points = read_points(inputs or [], default_signature(model))
        found = model.predict(contract.SERVING_DEFAULT, **points)
        shown = dict(points) | {key: found[key] for key in result_names(model)}
    PRINTERS[format](shown)


def _print_table(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    rows = len(next(iter(arrays.values())))
    table("", list(arrays), ([_cell(array[row]) for array in arrays.values()] for row in range(rows)))


def _print_json(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    squeezed = {name: _squeeze(array) for name, array in arrays.items()}
    say(json.dumps({name: _strict(_shortest(array)) for name, array in squeezed.items()}, allow_nan=False))


def _print_csv(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = {name: _squeeze(array).reshape(len(array), -1) for name, array in arrays.items()}
    writer.writerow(
        [label for name, array in arrays.items() for label in _labels(name, _squeeze(array).shape[1:])]
    )
    for row in range(len(next(iter(columns.values())))):
        writer.writerow([str(number) for array in columns.values() for number in array[row]])


PRINTERS: Final = {Format.TABLE: _print_table, Format.JSON: _print_json, Format.CSV: _print_csv}


def _squeeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[:, 0] if array.shape[1:] == (1,) else array


def _cell(row: npt.NDArray[Any]) -> str:
    return str(row.reshape(-1)[0]) if row.size == 1 else np.array2string(row, separator=", ", threshold=16)


def _shortest(array: npt.NDArray[Any]) -> Any:
    """The doubles with the fewest digits that stand for the array's own numbers: 0.1 for the float32 next to it."""
    return array.astype(np.str_).astype(np.float64).tolist()


def _labels(name: str, row_shape: Sequence[int]) -> list[str]:
    if not row_shape:
        return [name]
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*row_shape)]


def _strict(value: Any) -> Any:
    """Writes what JSON has no number for as text, as protobuf's JSON does."""
    if isinstance(value, list):
        return [_strict(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType] - tolist() is untyped
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
