"""A model along lines through its domain: one number of one input moves, everything else stays where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._cli.io import labels
from gradwire._errors import UsageError
from gradwire._package import BY_NAME, SERVING_DEFAULT, boxes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._model import Model
    from gradwire._package import Box, Card, CardTensor

MOST_LINES: Final = 6  # numbers of an output that are drawn: more cannot be told apart


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One number of one output, or its derivative, along a slice: its label and ``(points,)``."""

    label: str
    y: NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Slice:
    """What a model does along one number of one input.

    Attributes:
        along: its label, ``x`` or ``x[0]``.
        unit: its unit; empty where unknown.
        x: where, ``(points,)``.
        values: the outputs.
        slopes: their derivatives by this number; those that the model has.
        fixed: where everything else is, for people: ``"vol = 0.3"``; empty where there is nothing else.
    """

    along: str
    unit: str
    x: NDArray[np.float64]
    values: tuple[Line, ...]
    slopes: tuple[Line, ...]
    fixed: str


def coordinates(card: Card) -> dict[str, tuple[CardTensor, int]]:
    """Names every number that can move: ``{"spot[0]": (input, 0), …}``."""
    return {
        label: (tensor, place)
        for tensor in card.inputs
        if BY_NAME[tensor.dtype].numpy.kind == "f"
        for place, label in enumerate(labels(tensor.name, _row(tensor)))
    }


def slices(
    model: Model,
    along: Sequence[str],
    *,
    points: int,
    domain: Mapping[str, Any] | None = None,
    at: Mapping[str, NDArray[Any]] | None = None,
) -> list[Slice]:
    """Computes slices, in one call.

    Args:
        model: with a card.
        along: labels of ``coordinates``.
        points: of each slice, evenly from one end of the domain to the other.
        domain: ``{input: (lower, upper)}`` instead of the card's.
        at: ``{input: (1, *row)}`` where inputs stay; in the middle of the domain by default.

    Raises:
        UsageError: a label is unknown, or the domain is none.
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
    found = model.run(SERVING_DEFAULT, inputs)
    made: list[Slice] = []
    for index, label in enumerate(along):
        part = slice(index * points, (index + 1) * points)
        tensor, place = known[label]
        here = {name: np.asarray(array[part], np.float64) for name, array in found.items()}
        made.append(
            Slice(
                along=label,
                unit=_unit(tensor),
                x=lines[label][tensor.name].reshape(points, -1)[:, place].astype(np.float64),
                values=tuple(line for output in card.outputs for line in _lines(output.name, here)),
                slopes=tuple(line for output in card.outputs for line in _slopes(card, output, tensor, place, here)),
                fixed=_fixed(card, label, middle),
            )
        )
    return made


def _row(tensor: CardTensor) -> tuple[int, ...]:
    return tuple(size or 1 for size in tensor.shape)


def _middle(card: Card, boxes: Mapping[str, Box]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for tensor in card.inputs:
        lower, upper = boxes[tensor.name]
        centre = 0.5 * (lower + upper)
        counts = BY_NAME[tensor.dtype].numpy.kind in "iu"
        found[tensor.name] = (np.floor(centre) if counts else centre).reshape(1, *_row(tensor))
    return found


def _points(
    coordinate: tuple[CardTensor, int],
    boxes: Mapping[str, Box],
    middle: Mapping[str, NDArray[Any]],
    points: int,
) -> dict[str, NDArray[Any]]:
    tensor, place = coordinate
    rows = {name: np.repeat(row, points, axis=0) for name, row in middle.items()}
    lower, upper = (float(np.reshape(bound, -1)[place]) for bound in boxes[tensor.name])
    moved = rows[tensor.name].astype(np.float64).reshape(points, -1)
    moved[:, place] = np.linspace(lower, upper, points)
    rows[tensor.name] = moved.reshape(points, *_row(tensor))
    return rows


def _lines(name: str, found: Mapping[str, NDArray[np.float64]]) -> list[Line]:
    array = found[name]
    numbers = array.reshape(len(array), -1)
    return [Line(label, numbers[:, i]) for i, label in enumerate(labels(name, array.shape[1:])[:MOST_LINES])]


def _slopes(
    card: Card, output: CardTensor, tensor: CardTensor, place: int, found: Mapping[str, NDArray[np.float64]]
) -> list[Line]:
    """The derivatives of an output by one number of an input."""
    name = card.derivatives.get(output.name, {}).get(tensor.name)
    if name is None:
        return []
    table = found[name].reshape(len(found[name]), -1, math.prod(_row(tensor)))[:, :MOST_LINES, place]
    columns = labels(name, found[name].shape[1:])[place :: math.prod(_row(tensor))]
    return [Line(label, table[:, i]) for i, label in enumerate(columns[:MOST_LINES])]


def _fixed(card: Card, along: str, middle: Mapping[str, NDArray[Any]]) -> str:
    shown = [
        f"{label} = {number:.4g}"
        for tensor in card.inputs
        for label, number in zip(
            labels(tensor.name, _row(tensor)), middle[tensor.name].reshape(-1).tolist(), strict=True
        )
        if label != along
    ]
    return ", ".join(shown[:MOST_LINES]) + (", …" if len(shown) > MOST_LINES else "")


def _unit(tensor: CardTensor) -> str:
    return "" if tensor.unit in (None, "1") else str(tensor.unit)
