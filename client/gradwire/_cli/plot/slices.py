"""Slices of a model: one element of one input varies, everything else is held fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire._model import Model, package_of
from gradwire._package import (
    BAND,
    BY_NAME,
    SERVING_DEFAULT,
    UNCERTAINTY,
    Box,
    Card,
    CardTensor,
    boxes_of,
    derivative_unit,
    std_name,
)
from gradwire._tables import column_names

MOST_LINES: Final = 6  # elements of an output that are drawn: more cannot be told apart
MOST_FIXED: Final = 12  # fixed elements that are named: more are counted


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One element of an output, or of its derivative, along a slice.

    Attributes:
        label: of the element.
        y: ``(points,)``.
        output: whose element or derivative it is.
        name: of the output or of the derivative, for an axis that several elements share.
        unit: of both; empty where it is unknown, or for pure numbers.
        std: its error bar, ``(points,)``; None where the model has none.
    """

    label: str
    y: NDArray[np.float64]
    output: str
    name: str
    unit: str
    std: NDArray[np.float64] | None = None

    @property
    def band(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The nominal 95 % band, lower and upper; None where there is no error bar."""
        return None if self.std is None else (self.y - BAND * self.std, self.y + BAND * self.std)


@final
@dataclass(frozen=True, slots=True)
class Slice:
    """A model as a function of one element of one input.

    Attributes:
        along: the element's label, ``x`` or ``x[0]``.
        unit: its unit; empty where unknown.
        x: its values, ``(points,)``.
        values: the outputs.
        derivatives: those of the outputs with respect to the element, where the model has them.
        fixed: the other elements, as text, ``"vol = 0.3"``; empty where there are none.
        far: which points are far from the samples, as the error bars tell; none where the model has no error bars.
    """

    along: str
    unit: str
    x: NDArray[np.float64]
    values: tuple[Line, ...]
    derivatives: tuple[Line, ...]
    fixed: str
    far: NDArray[np.bool_]


def coordinates(card: Card) -> dict[str, tuple[CardTensor, int]]:
    """Name every element that can vary: ``{"spot[0]": (input, 0), …}``."""
    return {
        label: (tensor, place)
        for tensor in card.inputs
        if BY_NAME[tensor.dtype].numpy.kind == "f"
        for place, label in enumerate(column_names(tensor.name, tensor.least_row_shape))
    }


def slices(
    model: Model,
    along: Sequence[str],
    *,
    points: int,
    domain: Mapping[str, Any] | None = None,
    at: Mapping[str, NDArray[Any]] | None = None,
) -> list[Slice]:
    """Compute slices, all in one call.

    Args:
        model: a model with a card.
        along: labels from ``coordinates``.
        points: of each slice, evenly spaced over the domain.
        domain: ``{input: (lower, upper)}`` instead of the card's.
        at: ``{input: (1, *row)}``, the fixed inputs; the middle of the domain by default.

    Raises:
        UsageError: a label is unknown, or the domain is not a box.
        SignatureNotFound: the model has no card, or no derivatives.
    """
    card = model.card
    known = coordinates(card)
    unknown = sorted(set(along) - known.keys())
    if unknown or not along:
        raise UsageError(f"--along {', '.join(unknown)!r}: expected some of {list(known)}")
    boxes = boxes_of(card, domain)
    middle = _middle(card, boxes) | dict(at or {})
    lines = {label: _points(known[label], boxes, middle, points) for label in along}
    inputs = {tensor.name: np.concatenate([rows[tensor.name] for rows in lines.values()]) for tensor in card.inputs}
    response = model.run(SERVING_DEFAULT, inputs)
    far = np.zeros(len(along) * points, bool)
    if UNCERTAINTY in model.signatures:
        response |= model.run(UNCERTAINTY, inputs)
        far = package_of(model).trust.excess(response) > 1
    computed: list[Slice] = []
    for index, label in enumerate(along):
        part = slice(index * points, (index + 1) * points)
        tensor, place = known[label]
        arrays = {name: np.asarray(array[part], np.float64) for name, array in response.items()}
        computed.append(
            Slice(
                along=label,
                unit=_shown(tensor.unit),
                x=lines[label][tensor.name].reshape(points, -1)[:, place].astype(np.float64),
                values=tuple(line for output in card.outputs for line in _lines(output, arrays)),
                derivatives=tuple(
                    line for output in card.outputs for line in _derivatives(card, output, tensor, place, arrays)
                ),
                fixed=_fixed(card, label, middle),
                far=far[part],
            )
        )
    return computed


def _middle(card: Card, boxes: Mapping[str, Box]) -> dict[str, NDArray[Any]]:
    points: dict[str, NDArray[Any]] = {}
    for tensor in card.inputs:
        lower, upper = boxes[tensor.name]
        centre = 0.5 * (lower + upper)
        counts = BY_NAME[tensor.dtype].numpy.kind in "iu"
        points[tensor.name] = (np.floor(centre) if counts else centre).reshape(1, *tensor.least_row_shape)
    return points


def _points(
    coordinate: tuple[CardTensor, int],
    boxes: Mapping[str, Box],
    middle: Mapping[str, NDArray[Any]],
    points: int,
) -> dict[str, NDArray[Any]]:
    tensor, place = coordinate
    rows = {name: np.repeat(row, points, axis=0) for name, row in middle.items()}
    lower, upper = (float(np.reshape(bound, -1)[place]) for bound in boxes[tensor.name])
    varied = rows[tensor.name].astype(np.float64).reshape(points, -1)
    varied[:, place] = np.linspace(lower, upper, points)
    rows[tensor.name] = varied.reshape(points, *tensor.least_row_shape)
    return rows


def _lines(output: CardTensor, arrays: Mapping[str, NDArray[np.float64]]) -> list[Line]:
    name, array = output.name, arrays[output.name]
    elements, std = array.reshape(len(array), -1), arrays.get(std_name(name))
    stds = None if std is None else std.reshape(len(array), -1)
    return [
        Line(label, elements[:, i], name, name, _shown(output.unit), None if stds is None else stds[:, i])
        for i, label in enumerate(column_names(name, array.shape[1:])[:MOST_LINES])
    ]


def _derivatives(
    card: Card, output: CardTensor, tensor: CardTensor, place: int, arrays: Mapping[str, NDArray[np.float64]]
) -> list[Line]:
    """The derivatives of an output with respect to one element of an input."""
    name = card.derivatives.get(output.name, {}).get(tensor.name)
    if name is None:
        return []
    size = math.prod(tensor.least_row_shape)
    elements = arrays[name].reshape(len(arrays[name]), -1, size)[:, :MOST_LINES, place]
    columns = column_names(name, arrays[name].shape[1:])[place::size]
    unit = _shown(derivative_unit(output.unit, tensor.unit))
    std = arrays.get(std_name(name))
    stds = None if std is None else std.reshape(len(std), -1, size)[:, :MOST_LINES, place]
    return [
        Line(label, elements[:, i], output.name, name, unit, None if stds is None else stds[:, i])
        for i, label in enumerate(columns[:MOST_LINES])
    ]


def _fixed(card: Card, along: str, middle: Mapping[str, NDArray[Any]]) -> str:
    shown = [
        f"{label} = {element:.4g}"
        for tensor in card.inputs
        for label, element in zip(
            column_names(tensor.name, tensor.least_row_shape), middle[tensor.name].reshape(-1).tolist(), strict=True
        )
        if label != along
    ]
    more = len(shown) - MOST_FIXED
    return ", ".join(shown[:MOST_FIXED]) + (f" and {more} more" if more > 0 else "")


def with_unit(label: str, unit: str) -> str:
    """Return the label of an axis with its unit, if there is one."""
    return f"{label} [{unit}]" if unit else label


def _shown(unit: str | None) -> str:
    return "" if unit in (None, "1") else str(unit)
