"""What the page shows at one point: curves along each input, a map of two of them, and the numbers."""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._cli.explore.samples import Samples
from gradwire._cli.explore.subject import (
    MOST_SLIDERS,
    Curves,
    Floats,
    InputElement,
    OutputElement,
    Stopwatch,
    Subject,
    shown_unit,
)
from gradwire._errors import UsageError
from gradwire._package import BAND

CURVE_POINTS: Final = 201  # of each curve: a plot of the page is 300 to 800 pixels wide
MAP_POINTS: Final = 33  # along each side of the map
MOST_CURVES: Final = 12  # inputs along which there are curves: more do not fit a page
LARGEST: Final = sys.float_info.max
FORM: Final = ("at", "beside", "output", "point", "map")

Json = dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class ViewRequest:
    """What the page asks for.

    Attributes:
        at: the version that is shown, as ``Choice`` reads it.
        beside: another version to compare with; empty for none.
        output: number of the element of the outputs that is drawn.
        point: a number for each slider.
        map: numbers of the two elements of the map; None for no map.
    """

    at: str
    beside: str
    output: int
    point: tuple[float, ...]
    map: tuple[int, int] | None

    @classmethod
    def read(cls, raw: Any) -> ViewRequest:
        """Read the JSON of a request.

        Raises:
            UsageError: it is of another form.
        """
        form: Json = {**raw} if isinstance(raw, dict) else {}
        point, pair = _list(form.get("point")), _list(form.get("map"))
        if not (
            sorted(form) == sorted(FORM)
            and isinstance(form["at"], str)
            and isinstance(form["beside"], str)
            and type(form["output"]) is int
            and point is not None
            and all(type(each) in (int, float) and -LARGEST <= each <= LARGEST for each in point)
            and (form["map"] is None or (pair is not None and [type(each) for each in pair] == [int, int]))
        ):
            raise UsageError(f"a view of another form, expected an object of {', '.join(FORM)}: load the page again")
        corners = None if pair is None else (int(pair[0]), int(pair[1]))
        return cls(form["at"], form["beside"], form["output"], tuple(map(float, point)), corners)


def _list(value: Any) -> list[Any] | None:
    return [*value] if isinstance(value, list) else None


@final
class Grid:
    """The rows of a view, ``(rows, elements of all inputs)``: the point, then the curves, then the map.

    Args:
        subject: the version that is shown.
        flat: the point, ``(elements,)``.
        pair: numbers of the elements of the map, or None.
    """

    def __init__(self, subject: Subject, flat: Floats, pair: tuple[int, int] | None) -> None:
        self.along = [i for i, each in enumerate(subject.inputs) if not each.is_integer][:MOST_CURVES]
        self.pair = pair
        self.x = {i: _ends(subject.inputs[i], flat[i], CURVE_POINTS) for i in {*self.along, *(pair or ())}}
        parts = [flat[None]]
        for i in self.along:
            part = np.repeat(flat[None], CURVE_POINTS, axis=0)
            part[:, i] = self.x[i]
            parts.append(part)
        self.sides: tuple[Floats, ...] = ()
        if pair is not None:
            across, up = (np.linspace(float(self.x[i][0]), float(self.x[i][-1]), MAP_POINTS) for i in pair)
            self.sides = (across, up)
            part = np.repeat(flat[None], MAP_POINTS**2, axis=0)
            part[:, pair[1]] = np.repeat(up, MAP_POINTS)
            part[:, pair[0]] = np.tile(across, MAP_POINTS)
            parts.append(part)
        self.rows = np.concatenate(parts)

    def curve(self, order: int) -> slice:
        """Return the rows of the curve along ``along[order]``."""
        start = 1 + order * CURVE_POINTS
        return slice(start, start + CURVE_POINTS)

    @property
    def map(self) -> slice:
        """The rows of the map."""
        return slice(1 + len(self.along) * CURVE_POINTS, len(self.rows))


def point_of(subject: Subject, numbers: Sequence[float]) -> Floats:
    """Return all elements of a point: those of the sliders, the others in the middle of their domain.

    Raises:
        UsageError: there are not as many numbers as sliders.
    """
    flat = subject.middle.copy()
    sliders = min(len(flat), MOST_SLIDERS)
    if len(numbers) != sliders:
        raise UsageError(f"{len(numbers)} numbers for {sliders} sliders: the model has changed, load the page again")
    flat[:sliders] = numbers
    return flat


def view(subject: Subject, beside: Subject | None, request: ViewRequest, flat: Floats, samples: Samples | None) -> Json:
    """Compute what the page shows.

    Args:
        subject: the version that is shown.
        beside: the version to compare with, or None.
        request: what the page asks for.
        flat: the point, from ``point_of``.
        samples: the user's, or None.

    Raises:
        UsageError: the request does not fit the model, or the two versions cannot be compared.
        GradwireError: a call failed.
    """
    output = _output(subject, request.output)
    pair = request.map
    if pair is not None and not all(0 <= i < len(subject.inputs) and not subject.inputs[i].is_integer for i in pair):
        raise UsageError(f"a map of the inputs {pair}: load the page again")
    grid = Grid(subject, flat, pair)
    watch = Stopwatch()
    values, bars, trusted = subject.values(flat, watch)
    curves = subject.curves(grid.rows, output, watch)
    other, theirs, their_values = None, None, None
    if beside is not None:
        theirs = _comparable(subject, beside, output)
        their_values, _, _ = beside.values(flat, watch)
        other = beside.curves(grid.rows, theirs, watch)
    names = {element.label: i for i, element in enumerate(beside.outputs)} if beside is not None else {}
    return {
        "version": subject.version,
        "beside": None if beside is None else beside.version,
        "calls": [{"rows": rows, "milliseconds": 1e3 * seconds} for rows, seconds in watch.calls],
        "outside": subject.outside(flat),
        "trusted": trusted,
        "values": [
            _row(
                element.label,
                shown_unit(element.tensor.unit),
                values[i],
                bars and bars[i],
                _at(their_values, names.get(element.label)),
            )
            for i, element in enumerate(subject.outputs)
        ],
        "gradient": _gradient(subject, output, curves, other),
        "curves": [
            {
                "input": i,
                "x": pack(grid.x[i]),
                "shown": _lines(curves, grid.curve(order), i),
                "beside": other and _lines(other, grid.curve(order), i),
                "difference": other and _difference(curves, other, grid.curve(order), i),
                "samples": samples and samples.near(subject, output, flat, i),
            }
            for order, i in enumerate(grid.along)
        ],
        "map": None if pair is None else _map(grid, curves, other),
    }


def _output(subject: Subject, number: int) -> OutputElement:
    if not 0 <= number < len(subject.outputs):
        raise UsageError(
            f"output number {number} of {len(subject.outputs)}: the model has changed, load the page again"
        )
    return subject.outputs[number]


def _comparable(subject: Subject, beside: Subject, output: OutputElement) -> OutputElement:
    ours, theirs = ([element.label for element in each.inputs] for each in (subject, beside))
    if ours != theirs:
        raise UsageError(
            f"version {beside.version} has the inputs {', '.join(theirs)}, expected those of version {subject.version}, "
            f"{', '.join(ours)}: they cannot stand side by side"
        )
    for element in beside.outputs:
        if element.label == output.label:
            return element
    raise UsageError(f"version {beside.version} has no output {output.label}: choose another output, or no comparison")


def _ends(element: InputElement, number: float, points: int) -> Floats:
    lower, upper = element.ends
    return np.linspace(min(lower, number), max(upper, number), points)


def pack(array: NDArray[Any]) -> str:
    """Return numbers as base64 of little-endian float64, which a browser reads at once."""
    return base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode("ascii")


def text_of(value: Any) -> str:
    """Return a number with the digits that tell it apart from its neighbours in its own dtype."""
    return str(value)


def _at(values: list[Any] | None, index: int | None) -> Any:
    return None if values is None or index is None else values[index]


def _row(label: str, unit: str, value: Any, std: Any, other: Any) -> Json:
    """One line of the numbers, as text."""
    return {
        "label": label,
        "unit": unit,
        "value": text_of(value),
        "bar": None if std is None or not math.isfinite(std) else f"{BAND * float(std):.2g}",
        "beside": None if other is None else text_of(other),
        "difference": None if other is None else f"{float(value) - float(other):+.3g}",
    }


def _gradient(subject: Subject, output: OutputElement, curves: Curves, other: Curves | None) -> list[Json]:
    """The gradient at the point: its numbers in units, and the change of f across the domain at that slope."""
    rows: list[Json] = []
    for i, element in enumerate(subject.inputs[:MOST_SLIDERS]):
        name = subject.derivative(output, element)
        if not name:
            rows.append({"label": "", "across": None, "across_beside": None})
            continue
        width, slope = element.width, curves.df[0, i]
        their = None if other is None else other.df[0, i]
        std = None if curves.df_std is None else curves.df_std[0, i]
        dtype = np.dtype(output.tensor.dtype if output.tensor.dtype in ("float32", "float64") else "float64").type
        row = _row(name, subject.unit(output, element), dtype(slope), std, None if their is None else dtype(their))
        row["across"] = _finite(width * slope)
        row["across_beside"] = None if their is None else _finite(width * their)
        rows.append(row)
    return rows


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _lines(curves: Curves, rows: slice, i: int) -> Json:
    return {
        "f": pack(curves.f[rows]),
        "df": pack(curves.df[rows, i]),
        "f_bar": None if curves.f_std is None else pack(BAND * curves.f_std[rows]),
        "df_bar": None if curves.df_std is None else pack(BAND * curves.df_std[rows, i]),
    }


def _difference(curves: Curves, other: Curves, rows: slice, i: int) -> Json:
    return {
        "f": pack(curves.f[rows] - other.f[rows]),
        "df": pack(curves.df[rows, i] - other.df[rows, i]),
        "f_bar": None,
        "df_bar": None,
    }


def _map(grid: Grid, curves: Curves, other: Curves | None) -> Json:
    """The map: rows of the picture from the lower end of the second input up, and the gradient there."""
    x, y = grid.pair or (0, 0)

    def face(f: Floats, df: Floats) -> Json:
        return {"f": pack(f), "dx": pack(df[:, x]), "dy": pack(df[:, y])}

    f, df = curves.f[grid.map], curves.df[grid.map]
    faces = {"shown": face(f, df), "beside": None, "difference": None}
    if other is not None:
        faces["beside"] = face(other.f[grid.map], other.df[grid.map])
        faces["difference"] = face(f - other.f[grid.map], df - other.df[grid.map])
    return {"x": x, "y": y, "side": MAP_POINTS, "ends": [[float(s[0]), float(s[-1])] for s in grid.sides], **faces}
