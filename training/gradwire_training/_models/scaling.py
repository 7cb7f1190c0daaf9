"""Inputs and outputs brought to mean 0 and spread 1 inside the model, by layers that are exported with it.

With centres c and spreads s of the samples, a network g of scaled numbers becomes the function

    f(x) = c_f + s_f g((x - c_x) / s_x),        df/dx = (s_f / s_x) g'((x - c_x) / s_x)

whose derivatives come out of the chain rule alone: nothing has to be scaled back by hand (Huge and Savine, arXiv
2005.02347, section 2.3, scale data outside the model instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import keras
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._data import Samples, Table
    from gradwire_training._models.io_binding import IoBinding


@final
@dataclass(frozen=True, slots=True)
class Units:
    """The units that a model works in.

    Attributes:
        inputs: name -> an array that broadcasts with a row: what its first scaling layer divides by, else 1.
        outputs: name -> likewise: what its last scaling layer multiplies by, else 1.
    """

    inputs: Table
    outputs: Table


SCALED: Final = "_scaled"  # ends the name of a layer on the scaled side


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """Centre and spread of one column, each of its row's shape.

    Attributes:
        centre: the mean; 0 where nothing is known.
        spread: the standard deviation; 1 where the column does not vary.
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    def inward(self, name: str) -> keras.Layer:
        """Builds the layer that takes physical numbers to scaled ones."""
        return _rescaling(1 / self.spread, -self.centre / self.spread, name + SCALED)

    def outward(self, name: str) -> keras.Layer:
        """Builds the layer that takes scaled numbers to physical ones."""
        return _rescaling(self.spread, self.centre, name)


def input_scales(samples: Samples) -> dict[str, Scale]:
    """Measures every input number over the samples.

    Args:
        samples: at least one row.

    Returns:
        A scale by input name.
    """
    return {name: _of(column) for name, column in samples.x.items()}


def output_scales(samples: Samples) -> dict[str, Scale]:
    """Measures every output number over the samples' known labels.

    Where fewer than two different values are known, as with derivatives alone, the spread is what the slopes
    make of the inputs' spreads: the root of the sum of mean (dy/dx_j s_j)^2 over the inputs j.

    Args:
        samples: at least one row.

    Returns:
        A scale by output name.
    """
    scales: dict[str, Scale] = {}
    for name, column in samples.y.items():
        known = _of(column)
        varies = _deviation(column) > 0
        spread = np.where(varies, known.spread, _slope_spread(samples, name))
        scales[name] = Scale(known.centre, spread)
    return scales


def units_of(model: keras.Model, ports: IoBinding) -> Units:
    """Finds the units that a model works in: those of its first and last scaling layers.

    Args:
        model: Functional or Sequential.
        ports: how its names and the samples' match.
    """
    inputs, outputs = model.inputs, model.outputs
    return Units(
        inputs={port.name: _divisor(model, inputs[i]) for i, port in enumerate(ports.inputs)},
        outputs={port.name: _factor(model, outputs[i]) for i, port in enumerate(ports.outputs)},
    )


def _divisor(model: keras.Model, tensor: Any) -> NDArray[np.float64]:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling) and any(tensor is taken for taken in _ends(layer, "input")):
            return 1 / _scale(layer)
    return np.ones(())


def _factor(model: keras.Model, tensor: Any) -> NDArray[np.float64]:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling) and any(tensor is made for made in _ends(layer, "output")):
            return _scale(layer)
    return np.ones(())


def _ends(layer: keras.Layer, end: str) -> list[Any]:
    try:
        return keras.tree.flatten(getattr(layer, end))
    except (AttributeError, ValueError):  # used more than once, or never: Keras does not tell which is meant
        return []


def _scale(layer: keras.layers.Rescaling) -> NDArray[np.float64]:
    scale = np.abs(np.asarray(layer.scale, np.float64))
    return np.where(scale > 0, scale, 1.0)


def _rescaling(scale: NDArray[np.float64], offset: NDArray[np.float64], name: str) -> keras.Layer:
    # As arrays, for Keras takes plain numbers through float32; and of float32's numbers, for then copies of the
    # model in either precision are one function.
    exact: list[Any] = [np.asarray(part, np.float32).astype(np.float64) for part in (scale, offset)]
    return keras.layers.Rescaling(*exact, name=name)


def _of(column: NDArray[np.float64]) -> Scale:
    present = np.isfinite(column)
    count = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, column, 0.0).sum(axis=0) / count
    spread = _deviation(column)
    return Scale(centre, np.where(spread > 0, spread, 1.0))


def _deviation(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives the standard deviation of what is known, zero where that is rounding alone."""
    present = np.isfinite(column)
    count = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, column, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(present, column - centre, 0.0).__pow__(2).sum(axis=0) / count)
    return np.where(spread > 1e-12 * np.abs(centre), spread, 0.0)


def _slope_spread(samples: Samples, output: str) -> NDArray[np.float64]:
    shape = samples.y[output].shape[1:]
    total = np.zeros(shape)
    for wrt, column in samples.dydx.get(output, {}).items():
        moved = _by_numbers(column, shape, samples.x[wrt].shape[1:]) * _of(samples.x[wrt]).spread.ravel()
        present = np.isfinite(moved)
        squares = np.where(present, moved, 0.0) ** 2
        total += (squares.sum(axis=0) / np.maximum(present.sum(axis=0), 1)).sum(axis=-1).reshape(shape)
    return np.where(total > 0, np.sqrt(total), 1.0)


def _by_numbers(column: NDArray[np.float64], output: tuple[int, ...], wrt: tuple[int, ...]) -> NDArray[np.float64]:
    """Gives derivatives as ``(rows, output numbers, input numbers)``."""
    return column.reshape(len(column), int(np.prod(output)), int(np.prod(wrt)))
