"""What is proved: a model, random points and directions of its domain, and how it is run there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from gradwire._numerics import Measured, eps_of, evaluate_along, measure, sample_directions, sample_points
from gradwire._package import BY_NAME, SERVING_DEFAULT, VALUE, boxes_of
from gradwire._verify.runs import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._model import Model
    from gradwire._package import Box, Card, CardTensor

    Floats = NDArray[np.float64]
    Rows = Mapping[str, NDArray[Any]]


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

    def along(self, signature: str, multiples: Floats, names: Iterable[str] | None = None) -> dict[str, Floats]:
        """Runs a signature at x + tv.

        Args:
            signature: its name.
            multiples: t, ``(points, multiples)``, at as many of the points as there are.
            names: the inputs that move together; by default all that are differentiated.

        Returns:
            By tensor, ``(points, multiples, elements)``.
        """
        count = len(multiples)
        x = {name: array[:count] for name, array in self.x.items()}
        v = {name: self.v[name][:count] for name in (self.v if names is None else names)}
        return evaluate_along(lambda rows: self.run(signature, rows), x, v, multiples, self.boxes)

    def measure(self, signature: str, tangents: Rows | None = None) -> Measured:
        """Runs a signature at the points and on the fine grid around each.

        Args:
            signature: its name.
            tangents: further inputs, ``(points, …)``, the same all over a point's grid.

        Returns:
            Its numbers and their rounding.
        """
        return measure_at(self, signature, self.x, tangents or {})


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


def measure_at(subject: Subject, signature: str, x: Rows, tangents: Rows) -> Measured:
    """Runs a signature at given points and on the fine grid around each; see ``Subject.measure``."""
    count = len(next(iter(x.values())))
    directions = {name: v[np.arange(count) % len(v)] for name, v in subject.v.items()}
    return measure(lambda rows: subject.run(signature, rows), {**x, **tangents}, directions, subject.boxes, subject.eps)
