"""What the command line says of a model: points, domains, units and names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._cli.io.tables import FROM_FILE, read_blocks
from gradwire._errors import DataError, InputNameError, ShapeError, UsageError
from gradwire._package import STRING, TensorSpec, name_mismatch

BOUNDS: Final = 2
BLOCK: Final = 16_384  # rows of a table read at once: a tenth of a second of CSV, about a megabyte


def read_points(
    texts: Sequence[str], specs: Mapping[str, TensorSpec], taker: str, *, decimal: str = "."
) -> dict[str, NDArray[Any]]:
    """Read points such as ``x=0.5; 1.0; 1.5``, with ';' between points and ',' within one, or ``x=@points.csv``.

    Args:
        texts: the values of an option.
        specs: the inputs that it may name.
        taker: what takes them, for the message.
        decimal: the decimal mark of files.

    Returns:
        ``{input: (points, *row)}`` of the inputs that it names: float64, or text of an input that takes it.

    Raises:
        InputNameError: an input is unknown.
        ShapeError: a point has the wrong number of elements.
        DataError: text instead of a number, or a file that cannot be read.
    """
    values = dict(_split(text) for text in texts)
    if mismatch := name_mismatch(values, specs, optional=specs):
        raise InputNameError(f"{mismatch}; {taker} takes {list(specs)}")
    return {name: _read(value, specs[name], decimal) for name, value in values.items()}


def read_domain(texts: Sequence[str] | None) -> dict[str, tuple[float, float]]:
    """Read ``--domain`` options, ``x=0.1:1.9``.

    Raises:
        UsageError: not of that form.
    """
    domain: dict[str, tuple[float, float]] = {}
    for text in texts or ():
        name, value = _split(text)
        try:
            bounds = [float(part) for part in value.split(":")]
        except ValueError:
            bounds = []
        if len(bounds) != BOUNDS or not bounds[0] < bounds[1]:
            raise UsageError(f"--domain {text!r}: expected NAME=LOWER:UPPER, such as x=0.1:1.9")
        domain[name] = (bounds[0], bounds[1])
    return domain


def read_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Read ``--shape`` options, ``x=12,3``: the shape of one row of an input.

    Raises:
        UsageError: not of that form.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, sizes = _split(text)
        if not all(size.strip().isdecimal() for size in sizes.split(",")):
            raise UsageError(f"--shape {text!r}: expected NAME=SIZE,… of one row, such as x=12,3")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def read_units(texts: Sequence[str] | None) -> dict[str, str]:
    """Read ``--units`` options, ``spot=USD`` or ``spot=USD,vol=1``.

    Raises:
        UsageError: not of that form.
    """
    return dict(_split(part) for text in texts or () for part in text.split(","))


def read_names(option: str, text: str | None) -> list[str] | None:
    """Read an option that is a list of names, ``spot,vol``; None stays None.

    Args:
        option: its name, for messages.
        text: its value.

    Raises:
        UsageError: a name is empty or repeated.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--{option} {text!r}: expected distinct names separated by commas, such as spot,vol")
    return names


def read_columns(option: str, text: str | None) -> dict[str, str] | None:
    """Read an option that names columns or tensors, ``spot,mach=Mach number``; None stays None.

    Args:
        option: its name, for messages.
        text: its value; quotes hold names with commas: ``slope='dy,dx'``.

    Returns:
        ``{name in the package: the column's or tensor's own}``, in the order of the option.

    Raises:
        UsageError: a name is empty or repeated, or a quote is not closed.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in split_quoted(option, text)]
    columns = {name.strip(): (own if equals else name).strip() for name, equals, own in pairs}
    if (
        not columns
        or not all(columns)
        or not all(columns.values())
        or len(columns) < len(pairs)
        or len(set(columns.values())) < len(pairs)
    ):
        raise UsageError(
            f"--{option} {text!r}: expected distinct names separated by commas, such as spot,vol or mach='Mach number'"
        )
    return columns


def read_derivatives(option: str, text: str | None) -> dict[str, tuple[str, ...]] | None:
    """Read an option that says what columns of derivatives are: ``delta=px:S0, forces=-energy:positions``.

    Args:
        option: its name, for messages.
        text: its value, or None; ``slope='df/dx'=f:x`` names a column that has another name.

    Returns:
        ``{name: (output, input)}``, or with the column as a third entry.

    Raises:
        UsageError: not of that form.
    """
    if text is None:
        return None
    derivatives: dict[str, tuple[str, ...]] = {}
    for part in split_quoted(option, text):
        name, _, rest = part.partition("=")
        column, _, target = rest.rpartition("=")
        output, colon, wrt = target.partition(":")
        if not (name.strip() and colon) or name.strip() in derivatives:
            raise UsageError(
                f"--{option} {text!r}: expected NAME=OUTPUT:INPUT, such as delta=px:S0, forces=-energy:positions, or "
                "NAME=COLUMN=OUTPUT:INPUT, each name once"
            )
        derivatives[name.strip()] = (output.strip(), wrt.strip(), *([column.strip()] if column.strip() else []))
    return derivatives


def split_quoted(option: str, text: str) -> list[str]:
    """Split an option at its commas, but for those in quotes, which are removed.

    Raises:
        UsageError: a quote is not closed.
    """
    reader = shlex.shlex(text, posix=True)
    reader.whitespace, reader.whitespace_split, reader.commenters, reader.escape = ",", True, "", ""
    try:
        return [part.strip() for part in reader]
    except ValueError as error:
        raise UsageError(
            f"--{option} {text!r}: a quote is not closed; quote a name that holds one in the other kind"
        ) from error


def read_counts(option: str, text: str) -> list[int]:
    """Read an option that is a list of distinct positive integers, ``1,64,4096``.

    Args:
        option: its name, for messages.
        text: its value.

    Raises:
        UsageError: not of that form.
    """
    parts = [part.strip() for part in text.split(",")]
    counts = [int(part) for part in parts if part.isdecimal()]
    if len(counts) < len(parts) or min(counts) < 1 or len(set(counts)) < len(counts):
        raise UsageError(f"--{option} {text!r}: expected distinct positive integers, such as 1,64,4096")
    return counts


def read_tolerance(option: str, text: str | None) -> float | dict[str, float] | None:
    """Read an option that is a number for all tensors, ``1.05``, or one for some, ``cl=1.1,cd=1.2``; None stays None.

    Args:
        option: its name, for messages.
        text: its value, or None.

    Raises:
        UsageError: not of that form.
    """
    if text is None:
        return None
    try:
        if "=" not in text:
            return float(text)
        pairs = [_split(part) for part in text.split(",")]
        limits = {name: float(value) for name, value in pairs}
    except ValueError:
        limits, pairs = {}, [("", "")]
    if len(limits) < len(pairs):
        raise UsageError(
            f"--{option} {text!r}: expected one number, such as 1.05, or NAME=NUMBER,…, such as cl=1.1,cd=1.2"
        )
    return limits


def read_pairs(option: str, text: str | None, form: str = "OUTPUT:INPUT, such as price:rate") -> list[tuple[str, str]]:
    """Read an option that is a list of pairs of names, ``price:rate,delta:rate``.

    Args:
        option: its name, for messages.
        text: its value, or None.
        form: what a pair is, for messages.

    Raises:
        UsageError: not of that form.
    """
    pairs = [name.partition(":") for name in read_names(option, text) or []]
    if not all(first.strip() and second.strip() for first, _, second in pairs):
        raise UsageError(f"--{option} {text!r}: expected {form}")
    return [(first.strip(), second.strip()) for first, _, second in pairs]


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r}: expected NAME=VALUE, such as x=0.5")
    return name.strip(), value.strip()


def _read(value: str, spec: TensorSpec, decimal: str) -> NDArray[Any]:
    if not value.startswith(FROM_FILE):
        return _from_text(value, spec)
    blocks = read_blocks(value, {spec.name: spec}, [spec.name], BLOCK, decimal=decimal, header_optional=True)
    return np.concatenate([block[spec.name] for block in blocks])


def _from_text(value: str, spec: TensorSpec) -> NDArray[Any]:
    points = [part.split(",") for part in value.split(";") if part.strip()]
    if not points:
        raise DataError(f"input {spec.name!r} has no points: give some, such as {spec.name}=0.5;1.0")
    row_shape = spec.least_row_shape
    size = int(np.prod(row_shape))
    for index, point in enumerate(points):
        if len(point) != size:
            raise ShapeError(
                f"input {spec.name!r}: point {index} has {len(point)} numbers, expected {size}; separate points by "
                "';' and the numbers of a point by ','"
            )
    if spec.dtype == STRING:
        return np.asarray([[cell.strip() for cell in point] for point in points]).reshape(len(points), *row_shape)
    elements = [[_number(cell, spec.name, index) for cell in point] for index, point in enumerate(points)]
    return np.asarray(elements, np.float64).reshape(len(points), *row_shape)


def _number(cell: str, name: str, point: int) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(f"input {name!r}, point {point}: {cell.strip()!r} is not a number") from error
