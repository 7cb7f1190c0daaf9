"""The little languages of the command line: points, domains, units, and where a model is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._cli.lazy_imports import heavy
from gradwire._connect import connect, load
from gradwire._errors import DataError, InputNameError, ShapeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gradwire._model import Model
    from gradwire._package import Signature, TensorSpec

FROM_FILE: Final = "@"
BOUNDS: Final = 2


def open_model(target: str, name: str | None, *, timeout: float | None = None) -> Model:
    """Opens what a subcommand was given: an address and a name, or a package's directory.

    Args:
        target: ``localhost:8500``, or ``models/log``.
        name: the model's name at an address; None for a directory.
        timeout: seconds for a remote operation; None for the default.

    Raises:
        UsageError: an address without a name, or a directory with one.
    """
    if Path(target).is_dir():
        if name is not None:
            raise UsageError(f"{target} is a directory, which needs no name, and got {name!r}: leave it out")
        heavy("gradwire_serving")  # says which extra is missing, and silences TensorFlow
        return load(target)
    if name is None:
        raise UsageError(f"{target} is no directory; for an address name the model too: {target} NAME")
    return connect(target, name) if timeout is None else connect(target, name, timeout=timeout)


def read_points(texts: Sequence[str], signature: Signature) -> dict[str, npt.NDArray[np.float64]]:
    """Reads ``--input`` options.

    Args:
        texts: ``x=0.5; 1.0; 1.5`` with ';' between points and ',' within one, or ``x=@points.csv``.
        signature: whose inputs they are.

    Returns:
        ``{input: (points, *input)}``; a single point is repeated to the number of the others.

    Raises:
        InputNameError: names are missing or unknown.
        ShapeError: a point has the wrong number of numbers, or inputs have different numbers of points.
        DataError: text where a number is expected, or a file that cannot be read.
    """
    given = dict(_split(text) for text in texts)
    if given.keys() != signature.inputs.keys():
        extra, missing = given.keys() - signature.inputs.keys(), signature.inputs.keys() - given.keys()
        raise InputNameError(
            f"--input names {sorted(given)}: sent extra: {sorted(extra)}; missing but required: {sorted(missing)}"
        )
    points = {name: _read(given[name], spec) for name, spec in signature.inputs.items()}
    count = max(len(rows) for rows in points.values())
    for name, rows in points.items():
        if len(rows) not in (1, count):
            raise ShapeError(
                f"input {name!r} has {len(rows)} points, another has {count}: give as many, or one for all"
            )
    return {name: np.repeat(rows, count, axis=0) if len(rows) == 1 else rows for name, rows in points.items()}


def read_domain(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Reads ``--domain`` options, ``x=0.1:1.9``.

    Raises:
        UsageError: not of that form.
    """
    domain: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, value = _split(text)
        try:
            bounds = [float(part) for part in value.split(":")]
        except ValueError:
            bounds = []
        if len(bounds) != BOUNDS or not bounds[0] < bounds[1]:
            raise UsageError(f"--domain {text!r}: expected NAME=LOWER:UPPER, such as x=0.1:1.9")
        domain[name] = (bounds[0], bounds[1])
    return domain


def read_units(texts: Sequence[str]) -> dict[str, str]:
    """Reads ``--units`` options, ``spot=USD`` or ``spot=USD,vol=1``.

    Raises:
        UsageError: not of that form.
    """
    return dict(_split(part) for text in texts for part in text.split(","))


def read_names(option: str, text: str | None) -> list[str] | None:
    """Reads an option that is a list of names, ``spot,vol``; None where it was not given.

    Args:
        option: its name, for messages.
        text: its value.

    Raises:
        UsageError: a name is empty or there twice.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--{option} {text!r}: expected different names with commas between them, such as spot,vol")
    return names


def read_pairs(option: str, text: str | None) -> list[tuple[str, str]]:
    """Reads an option that is a list of outputs and inputs, ``price:rate,delta:rate``.

    Args:
        option: its name, for messages.
        text: its value, or None.

    Raises:
        UsageError: not of that form.
    """
    pairs = [name.partition(":") for name in read_names(option, text) or []]
    if not all(output.strip() and wrt.strip() for output, _, wrt in pairs):
        raise UsageError(f"--{option} {text!r}: expected OUTPUT:INPUT, such as price:rate")
    return [(output.strip(), wrt.strip()) for output, _, wrt in pairs]


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r}: expected NAME=VALUE, such as x=0.5")
    return name.strip(), value.strip()


def _read(value: str, spec: TensorSpec) -> npt.NDArray[np.float64]:
    rows = _from_file(Path(value[1:]), spec) if value.startswith(FROM_FILE) else _from_text(value, spec)
    row_shape = tuple(size or 1 for size in spec.row_shape)
    expected = int(np.prod(row_shape))
    for index, row in enumerate(rows):
        if len(row) != expected:
            raise ShapeError(
                f"input {spec.name!r}: point {index} has {len(row)} numbers, expected {expected}; "
                "separate points by ';' and the numbers of a point by ','"
            )
    return np.asarray(rows, np.float64).reshape(len(rows), *row_shape)


def _from_text(value: str, spec: TensorSpec) -> list[list[float]]:
    points = [part for part in value.split(";") if part.strip()]
    if not points:
        raise DataError(f"input {spec.name!r} has no points: give some, such as {spec.name}=0.5;1.0")
    return [
        [_number(cell, f"input {spec.name!r}, point {i}") for cell in part.split(",")] for i, part in enumerate(points)
    ]


def _from_file(path: Path, spec: TensorSpec) -> list[list[float]]:
    """Reads the columns of an input: ``x``, or ``x[0]``, ``x[1]``, …; without a header, all columns."""
    try:
        with path.open(newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if lines and not _is_number(lines[0][0]):
        header, *lines = lines
        names = [cell.strip() for cell in header]
        picked = [i for i, name in enumerate(names) if name == spec.name or name.startswith(f"{spec.name}[")]
        if not picked:
            raise DataError(f"{path} has columns {names}, expected one named {spec.name!r}")
        lines = [[line[i] if i < len(line) else "" for i in picked] for line in lines]
    if not lines:
        raise DataError(f"{path} has no rows")
    return [[_number(cell, f"{path}, row {i}") for cell in line] for i, line in enumerate(lines)]


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(f"{where}: {cell.strip()!r} is not a number") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
