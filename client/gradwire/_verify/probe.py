"""A model and where it is evaluated: random points and directions of its domain, and how it is called there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import InputNameError, ShapeError, UsageError
from gradwire._model import Model
from gradwire._numerics import (
    Measured,
    eps_of,
    evaluate_along,
    measure,
    nearest_points,
    require_resolved,
    sample_directions,
    sample_points,
)
from gradwire._package import BY_NAME, SERVING_DEFAULT, VALUE, Box, Card, CardTensor, boxes_of, name_mismatch
from gradwire._wire import Call

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


@final
@dataclass(frozen=True, slots=True)
class Derivative:
    """A first derivative."""

    output: CardTensor
    input: CardTensor
    tensor: str  # the derivative's name

    def __str__(self) -> str:
        return f"{self.tensor} of {self.output.name} wrt {self.input.name}"

    def blocks(self, values: Floats) -> Floats:
        """Return a tensor of this derivative's shape as ``(points, output elements, input elements)``."""
        return values.reshape(len(values), max(1, int(np.prod(self.output.shape))), -1)


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """A model, and where it is evaluated."""

    model: Model  # without its caller's options
    boxes: Mapping[str, Box]  # bounds of every input
    x: Arrays  # points, ``(points, *row)`` by input
    v: Mapping[str, Floats]  # directions of the inputs that are differentiated
    eps: float  # the coarsest of the inputs' and outputs' dtypes
    rng: np.random.Generator  # for all else that a check draws

    @classmethod
    def draw(
        cls,
        model: Model,
        domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None,
        points: int,
        seed: int,
        rows: Mapping[str, ArrayLike] | None = None,
    ) -> Probe:
        """Draw points, all or from rows, and directions; see ``verify`` for the arguments."""
        model, rng = without_options(model), np.random.default_rng(seed)
        card = model.card
        boxes = boxes_of(card, domain)
        dtypes = {tensor.name: BY_NAME[tensor.dtype].numpy for tensor in card.inputs}
        for name, dtype in dtypes.items():
            require_resolved(name, boxes[name], dtype)
        if rows is None:
            x = {name: sample_points(boxes[name], points, dtype, rng) for name, dtype in dtypes.items()}
        else:
            chosen = _choose(_read_rows(rows, card, boxes), points, rng)
            x = {name: nearest_points(column, boxes[name], dtypes[name]) for name, column in chosen.items()}
            points = len(next(iter(x.values())))
        differentiated = {wrt for by_input in card.derivatives.values() for wrt in by_input}
        v = {
            name: sample_directions(boxes[name], points, rng, dtype)
            for name, dtype in dtypes.items()
            if name in differentiated
        }
        eps = max(eps_of(tensor.dtype) for tensor in (*card.inputs, *card.outputs))
        return cls(model, boxes, x, v, eps, rng)

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

    def derivatives(self) -> Iterator[Derivative]:
        """Iterate over the first derivatives, outputs and inputs in the card's order."""
        for output in self.card.outputs:
            by_input = self.card.derivatives.get(output.name, {})
            for wrt in self.card.inputs:
                if wrt.name in by_input:
                    yield Derivative(output, wrt, by_input[wrt.name])

    def run(self, signature: str, rows: Arrays) -> dict[str, NDArray[Any]]:
        """Run a signature; see the function ``run``."""
        return run(self.model, signature, rows)

    def run_along(self, signature: str, multiples: Floats, names: Iterable[str] | None = None) -> dict[str, Floats]:
        """Run a signature at x + tv of the first points: ``(points, multiples, elements)`` by tensor.

        ``names`` are the inputs that move together; by default all that are differentiated.
        """
        count = len(multiples)
        x = {name: array[:count] for name, array in self.x.items()}
        v = {name: self.v[name][:count] for name in (self.v if names is None else names)}
        return evaluate_along(lambda rows: self.run(signature, rows), x, v, multiples, self.boxes)

    def measure(self, signature: str, vectors: Arrays | None = None, x: Arrays | None = None) -> Measured:
        """Run a signature at points and on the fine grid around each; tangents and cotangents stay the same there."""
        x = self.x if x is None else x
        picked = np.arange(len(next(iter(x.values()))))
        v = {name: array[picked % len(array)] for name, array in self.v.items()}
        return measure(lambda rows: self.run(signature, rows), {**x, **(vectors or {})}, v, self.boxes, self.eps)


def _read_rows(rows: Mapping[str, ArrayLike], card: Card, boxes: Mapping[str, Box]) -> dict[str, NDArray[Any]]:
    """Return a column for every input, ``(rows, *row)``, inside its box."""
    if mismatch := name_mismatch(rows, [tensor.name for tensor in card.inputs]):
        raise InputNameError(f"{mismatch} in rows: give a column for every input of the model")
    columns: dict[str, NDArray[Any]] = {}
    for tensor in card.inputs:
        column, name = np.asarray(rows[tensor.name]), tensor.name
        try:
            columns[name] = column.reshape(-1, *boxes[name].lower.shape)
        except ValueError as error:
            raise ShapeError(f"rows of {name!r} have shape {column.shape}, expected (rows, *{tensor.shape})") from error
        outside = ~((boxes[name].lower <= columns[name]) & (columns[name] <= boxes[name].upper))
        if outside.any():
            row = int(np.flatnonzero(outside.reshape(len(outside), -1).any(axis=1))[0])
            raise UsageError(
                f"row {row} (counted from 0) has {name} = {columns[name][row]}, and the domain is {boxes[name].lower} to "
                f"{boxes[name].upper}: give a domain that encloses it, or leave the row out"
            )
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1 or not min(counts.values()):
        raise ShapeError(f"rows have {counts} by input, expected one number, 1 or more")
    return columns


def _choose(rows: Arrays, most: int, rng: np.random.Generator) -> Arrays:
    count = len(next(iter(rows.values())))
    if count <= most:
        return rows
    chosen = np.sort(rng.choice(count, most, replace=False))
    return {name: column[chosen] for name, column in rows.items()}


def without_options(model: Model) -> Model:
    """Return a model on the same connection, not to be closed, without its caller's options.

    NaN is fed on purpose, and no response may be cached.
    """
    transport, options = model._transport, model._options  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a part of Model
    return Model(transport, timeout=options.timeout)


def brief(error: Exception) -> str:
    """Return the first line of a model's refusal."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]


def run(model: Model, signature: str, rows: Arrays) -> dict[str, NDArray[Any]]:
    """Run a signature on rows by input, in its dtypes; return every output by name, ``(batch, …)``."""
    with np.errstate(all="ignore"):  # a FakeTransport computes here, and NaN is fed on purpose
        return model.predict(signature, **rows)


def run_no_rows(model: Model, signature: str, rows: Arrays) -> dict[str, NDArray[Any]] | None:
    """Run a signature on no rows, which a ``Model`` never sends; return None for a server: they may wait forever."""
    transport = model._transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - below what Model offers, on purpose
    if not transport.can_run_empty:
        return None
    return dict(transport.predict(Call(model.signatures[signature], rows), timeout=60.0))
