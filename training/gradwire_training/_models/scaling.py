"""Inputs and outputs scaled to mean 0 and spread 1 inside the model, by layers that are exported with it.

With centres c and spreads s of the samples, a network g of scaled variables becomes the function

    f(x) = c_f + s_f g((x - c_x) / s_x),        df/dx = (s_f / s_x) g'((x - c_x) / s_x)

whose derivatives follow by the chain rule: nothing has to be scaled back by hand (Huge and Savine, arXiv 2005.02347,
section 2.3, scale data outside the model instead).

Far from zero, where |c_x| is many s_x, the centre is subtracted by a layer of its own before anything is multiplied:
c_x is a float32 number near the data, so that the difference of two float32 numbers is exact (Sterbenz' lemma). x / s_x
and c_x / s_x would each be rounded before they cancel. What float32 leaves of a centre, where it is a part of the
spread at all (in float64 alone: float32 does not tell such rows apart), the other layer subtracts; so with c_f.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire_training._data import Samples, Table, known_mean, mean_and_deviation
from gradwire_training._models.io_binding import IoBinding, ordered_tensors


@final
@dataclass(frozen=True, slots=True)
class Units:
    """The units of a model's scaled variables, by name: arrays that broadcast with a row."""

    inputs: Table  # what the first scaling layers divide by, else 1
    outputs: Table  # what the last scaling layers multiply by, else 1


CENTRED: Final = "_centred"  # ends the name of a layer next to one that subtracts, or adds, a centre far from zero
FAR: Final = 16.0  # spreads from zero: nearer, four bits of 24 at most are lost when the centre cancels
SCALED: Final = "_scaled"  # ends the name of a layer on the scaled side
NOTICED: Final = 1e-2  # of the spread: how far the centre may be off
ROUNDING: Final = 1e-12  # of the mean: a smaller deviation is rounding


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """Centre and spread of one column, each of its row's shape."""

    centre: NDArray[np.float64]  # the mean; 0 where nothing is known
    spread: NDArray[np.float64]  # the standard deviation; 1 where the column does not vary

    def inward(self, name: str) -> list[keras.Layer]:
        """Build the layers from physical to scaled values, one after the other."""
        if not self.is_far:
            return [_rescaling(1 / self.spread, -self.centre / self.spread, name + SCALED)]
        return [
            _rescaling(np.ones_like(self.spread), -self.centre, name + CENTRED),
            _rescaling(1 / self.spread, -self.remainder / self.spread, name + SCALED),
        ]

    @property
    def is_far(self) -> bool:
        """Whether the column lies many spreads from zero, and is divided by something."""
        return bool(np.any((np.abs(self.centre) > FAR * self.spread) & (self.spread != 1)))

    @property
    def remainder(self) -> NDArray[np.float64]:
        """What float32 leaves of the centre; 0 where the spread hides it."""
        left = self.centre - _rounded(self.centre)
        return np.where(np.abs(left) > NOTICED * self.spread, left, 0.0)

    def outward(self, name: str) -> list[keras.Layer]:
        """Build the layers from scaled to physical values, one after the other."""
        if not self.remainder.any():
            return [_rescaling(self.spread, self.centre, name)]
        return [
            _rescaling(self.spread, self.remainder, name + CENTRED),
            _rescaling(np.ones_like(self.spread), self.centre, name),
        ]


def input_scales(samples: Samples) -> dict[str, Scale]:
    """Return centre and spread of every input element over the samples, by name."""
    return {name: _of(column, samples.row_weights) for name, column in samples.x.items()}


def output_scales(samples: Samples) -> dict[str, Scale]:
    """Return centre and spread of every output element over the known labels, by name.

    Where fewer than two different values are known, as with derivatives alone, the spread follows from the derivatives
    and the inputs' spreads: the root of the sum of mean (dy/dx_j s_j)^2 over the inputs j.
    """
    scales: dict[str, Scale] = {}
    for name, column in samples.y.items():
        centre, deviation = moments(column, samples.row_weights)
        scales[name] = Scale(centre, np.where(deviation > 0, deviation, _spread_by_derivatives(samples, name)))
    return scales


def units_of(model: keras.Model, binding: IoBinding) -> Units:
    """Return the units of a model: those of its first and its last scaling layers."""
    inputs, outputs = ordered_tensors(model)
    return Units(
        inputs={
            bound.name: 1 / _factor(model, tensor, "input")
            for bound, tensor in zip(binding.inputs, inputs, strict=True)
        },
        outputs={
            bound.name: _factor(model, tensor, "output") for bound, tensor in zip(binding.outputs, outputs, strict=True)
        },
    )


def _factor(model: keras.Model, tensor: Any, end: str) -> NDArray[np.float64]:
    """Return the factor of the scaling layers that a tensor is at one end of, ``"input"`` or ``"output"``; else 1."""
    factor = np.ones(())
    for layer in _scaling_layers(model, tensor, end):
        scale = np.abs(np.asarray(layer.scale, np.float64))
        factor = factor * np.where(scale > 0, scale, 1.0)
    return factor


def _scaling_layers(model: keras.Model, tensor: Any, end: str) -> Iterator[Any]:
    """Yield the scaling layers from a model's input, or output, inwards."""
    if isinstance(model, keras.Sequential):  # its layers do not share tensors
        chain = model.layers if end == "input" else reversed(model.layers)
        yield from takewhile(lambda layer: isinstance(layer, keras.layers.Rescaling), chain)
        return
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
    while layer := next((one for one in layers if any(tensor is other for other in _ends(one, end))), None):
        yield layer
        (tensor,) = _ends(layer, "output" if end == "input" else "input")


def _ends(layer: keras.Layer, end: str) -> list[Any]:
    try:
        return keras.tree.flatten(getattr(layer, end))
    except (AttributeError, ValueError):  # called more than once, or never: Keras does not tell which is meant
        return []


def _rounded(part: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # such numbers are refused with float32, in a sentence
        return np.asarray(part, np.float32).astype(np.float64)


def _rescaling(scale: NDArray[np.float64], offset: NDArray[np.float64], name: str) -> keras.Layer:
    # As arrays, since Keras rounds plain numbers to float32; and rounded to float32, so that copies of the model in
    # either precision are one function.
    exact: list[Any] = [_rounded(part) for part in (scale, offset)]
    return keras.layers.Rescaling(*exact, name=name)


def _of(column: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Scale:
    centre, deviation = moments(column, weights)
    return Scale(centre, np.where(deviation > 0, deviation, 1.0))


def moments(
    column: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the known elements; the latter zero where it is rounding alone."""
    centre, deviation = mean_and_deviation(column, weights)
    return centre, np.where(deviation > ROUNDING * np.abs(centre), deviation, 0.0)


def _spread_by_derivatives(samples: Samples, output: str) -> NDArray[np.float64]:
    shape = samples.y[output].shape[1:]
    total = np.zeros(shape)
    for wrt, column in samples.dydx.get(output, {}).items():
        spread = _of(samples.x[wrt], samples.row_weights).spread.ravel()
        moved = column.reshape(len(column), -1, len(spread)) * spread  # (rows, output elements, input elements)
        total += known_mean(moved**2, samples.row_weights).sum(axis=-1).reshape(shape)
    return np.where(total > 0, np.sqrt(total), 1.0)
