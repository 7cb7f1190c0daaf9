"""What is proved: a model, random points and directions of its domain, and how it is run there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._numerics import CENTRE, GRID, deviation, on_grid, sample_directions, sample_points, spacing
from gradwire._package import BFLOAT16, BY_NAME, SERVING_DEFAULT, VALUE, boxes_of
from gradwire._verify.runs import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._model import Model
    from gradwire._package import Box, Card, CardTensor

    Floats = NDArray[np.float64]
    Rows = Mapping[str, NDArray[Any]]

_BFLOAT16_EPS: Final = 2.0**-7


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """A first derivative.

    Attributes:
        output: the output.
        input: the input.
        tensor: the derivative's name.
    """

    output: CardTensor
    input: CardTensor
    tensor: str

    @property
    def subject(self) -> str:
        """In words."""
        return f"{self.tensor} of {self.output.name} by {self.input.name}"


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """What a signature gives at the points, and how much of it is rounding.

    Attributes:
        values: by tensor, ``(points, numbers)``.
        noise: the deviation of rounding, of the same shapes.
    """

    values: Mapping[str, Floats]
    noise: Mapping[str, Floats]


@final
@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and where it is looked at.

    Attributes:
        model: what answers.
        boxes: bounds of every input.
        x: points, ``(points, *row)`` by input.
        v: directions of the inputs that are differentiated.
        eps: the coarsest of the inputs' and outputs' dtypes.
        rng: for whatever else a check draws.
    """

    model: Model
    boxes: Mapping[str, Box]
    x: Rows
    v: Mapping[str, Floats]
    eps: float
    rng: np.random.Generator

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.model.card

    @property
    def values_signature(self) -> str:
        """The signature for values alone: `value` where there is one."""
        return VALUE if self.has(VALUE) else SERVING_DEFAULT

    def has(self, signature: str) -> bool:
        """Whether the model has a signature."""
        return signature in self.model.signatures

    def pairs(self) -> Iterator[Pair]:
        """Gives every first derivative, outputs and inputs in the card's order."""
        for output in self.card.outputs:
            by = self.card.derivatives.get(output.name, {})
            for wrt in self.card.inputs:
                if wrt.name in by:
                    yield Pair(output, wrt, by[wrt.name])

    def run(self, signature: str, rows: Rows) -> dict[str, NDArray[Any]]:
        """Runs a signature; see ``_seam``."""
        return run(self.model, signature, rows)

    def moved_by(self, steps: Floats) -> dict[str, NDArray[Any]]:
        """Moves all differentiated inputs along their directions.

        Args:
            steps: ``(points, steps)``, multiples of v.

        Returns:
            Every input, ``(points * steps, *row)``, no point outside its domain.
        """
        each = steps.shape[1]
        rows = {name: np.repeat(array, each, axis=0) for name, array in self.x.items()}
        for name, v in self.v.items():
            h = steps.reshape(*steps.shape, *(1 for _ in v.shape[1:]))
            moved = np.clip(self.x[name][:, None] + h * v[:, None], *self.boxes[name])
            rows[name] = moved.astype(self.x[name].dtype).reshape(-1, *v.shape[1:])
        return rows

    def measure(self, signature: str, tangents: Rows | None = None) -> Measured:
        """Runs a signature at the points and on the fine grid around each.

        Args:
            signature: its name.
            tangents: further inputs, ``(points, …)``, the same all over a point's grid.

        Returns:
            Its numbers and their rounding.
        """
        return measure(self, signature, self.x, tangents or {})


def draw_subject(
    model: Model, domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None, points: int, seed: int
) -> Subject:
    """Draws points and directions; see ``verify`` for the arguments."""
    rng = np.random.default_rng(seed)
    card = model.card
    boxes = boxes_of(card, domain)
    dtypes = {tensor.name: BY_NAME[tensor.dtype].numpy for tensor in card.inputs}
    x = {name: sample_points(boxes[name], points, dtype, rng) for name, dtype in dtypes.items()}
    differentiated = {wrt for by in card.derivatives.values() for wrt in by}
    v = {name: sample_directions(boxes[name], points, rng) for name in dtypes if name in differentiated}
    eps = max(eps_of(tensor.dtype) for tensor in (*card.inputs, *card.outputs))
    return Subject(model, boxes, x, v, eps, rng)


def measure(subject: Subject, signature: str, x: Rows, tangents: Rows) -> Measured:
    """Runs a signature at given points and on the fine grid around each; see ``Subject.measure``."""
    count = len(next(iter(x.values())))
    directions = {name: v[np.arange(count) % len(v)] for name, v in subject.v.items()}
    steps = np.max([np.zeros(count), *(spacing(x[name], v, subject.eps) for name, v in directions.items())], axis=0)
    rows = {name: np.repeat(array, len(GRID), axis=0) for name, array in (*x.items(), *tangents.items())}
    for name, v in directions.items():
        rows[name] = on_grid(x[name], v, steps, subject.boxes[name]).reshape(-1, *v.shape[1:])
    found = {name: numbers(array) for name, array in subject.run(signature, rows).items()}
    grids = {name: array.reshape(count, len(GRID), -1) for name, array in found.items()}
    values = {name: grid[:, CENTRE] for name, grid in grids.items()}
    with np.errstate(all="ignore"):
        noise = {name: deviation(grid, subject.eps * largest(values[name])) for name, grid in grids.items()}
    return Measured(values, noise)


def eps_of(dtype: str) -> float:
    """Gives the spacing of a dtype's numbers at 1; 0 for integers, which are exact."""
    if dtype == BFLOAT16:
        return _BFLOAT16_EPS
    return float(np.finfo(dtype).eps) if BY_NAME[dtype].numpy.kind == "f" else 0.0


def largest(values: Floats) -> Floats:
    """The largest finite magnitude over the rows, ``(numbers,)``; 0 where there is none."""
    return np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=0, initial=0.0)


def numbers(array: NDArray[Any]) -> Floats:
    """The numbers of each row, ``(rows, numbers)``, in float64."""
    return array.reshape(len(array), -1).astype(np.float64)


def units(found: Floats, expected: Floats, allowed: Floats) -> float:
    """The largest disagreement in units of what is allowed.

    Args:
        found: to be judged.
        expected: of the same shape.
        allowed: of the same shape; positive.

    Returns:
        0 where all agree; infinite where one is finite and the other is not. Rows where neither is do not count.
    """
    with np.errstate(all="ignore"):
        ratio = np.abs(found - expected) / allowed
    both = np.isfinite(found) & np.isfinite(expected)
    ratio = np.where(both, ratio, np.where(np.isfinite(found) == np.isfinite(expected), 0.0, np.inf))
    return float(np.nan_to_num(ratio, nan=np.inf, posinf=np.inf).max(initial=0.0))
