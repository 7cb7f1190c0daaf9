"""A small network of the standard deviations, so that a server computes them in less time than the derivatives.

The Laplace approximation needs a row of the Jacobian for every value and derivative, hundreds of numbers each. Their
standard deviations are smooth functions of the inputs: a perceptron of their logarithms, fitted to the exact ones at
points on the rows, in the box and around it, returns them to 4 to 10 % (ten problems), costs one evaluation however
many inputs there are, and is positive by construction. Its activation is bounded, so that far outside it is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from gradwire._package import derivative_name, derivative_shape, std_name
from gradwire_training._data import Samples, Table
from gradwire_training._models import BoundTensor, IoBinding, input_scales, with_dtype

Array: TypeAlias = "NDArray[np.float64]"

WIDTH: Final = 24
STEPS: Final = 300
DECAY: Final = 1e-5  # of the squared weights
POINTS: Final = 500  # of each kind
KINDS: Final = 4  # see ``_points``
MARGIN: Final = 0.25  # of the box's width, around it
JITTER: Final = 0.1  # of the box's width, around rows
LEAST: Final = 1e-12  # of a column's largest standard deviation: a smaller one is zero but for rounding
POINTS_STREAM: Final = 10  # of random numbers, apart from those behind points, weights and splits


@final
@dataclass(frozen=True, slots=True)
class Perceptron:
    """Two hidden layers of tanh."""

    layers: tuple[tuple[Array, Array], ...]  # kernel and bias of each

    def __call__(self, x: Array) -> Array:
        """Evaluate it at ``(rows, width)``."""
        *hidden, (kernel, bias) = self.layers
        for weights, offset in hidden:
            x = np.tanh(x @ weights + offset)
        return x @ kernel + bias

    @classmethod
    def fit(cls, x: Array, y: Array) -> Perceptron:
        """Fit it to columns of mean 0 and spread 1, by L-BFGS."""
        generator = np.random.default_rng(np.random.SeedSequence((0, POINTS_STREAM, 1)))
        sizes = [x.shape[1], WIDTH, WIDTH, y.shape[1]]
        shapes = [shape for before, after in pairwise(sizes) for shape in ((before, after), (after,))]
        start = [
            generator.standard_normal(shape) / np.sqrt(shape[0]) if len(shape) > 1 else np.zeros(shape)
            for shape in shapes
        ]
        ends = np.cumsum([part.size for part in start])[:-1]

        def split(weights: Array) -> list[Array]:
            return [part.reshape(shape) for part, shape in zip(np.split(weights, ends), shapes, strict=True)]

        def loss(weights: Array) -> tuple[float, Array]:
            w1, b1, w2, b2, w3, b3 = split(weights)
            first = np.tanh(x @ w1 + b1)
            second = np.tanh(first @ w2 + b2)
            error = second @ w3 + b3 - y
            outer = 2 * error / error.size
            inner = outer @ w3.T * (1 - second**2)
            below = inner @ w2.T * (1 - first**2)
            sweeps = ((x, below), (first, inner), (second, outer))
            parts = [part.ravel() for layer, adjoint in sweeps for part in (layer.T @ adjoint, adjoint.sum(axis=0))]
            penalty = DECAY * float(weights @ weights)
            return float(np.mean(error**2)) + penalty, np.concatenate(parts) + 2 * DECAY * weights

        weights = minimize(
            loss,
            np.concatenate([part.ravel() for part in start]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": STEPS},
        ).x
        parts = split(weights)
        return cls(tuple(zip(parts[::2], parts[1::2], strict=True)))


@final
@dataclass(frozen=True, slots=True)
class StdNetwork:
    """The standard deviations as a function of the inputs."""

    centre: Array  # of the input elements
    spread: Array
    perceptron: Perceptron  # of scaled inputs; its outputs are logarithms

    def __call__(self, x: Array) -> Array:
        """Return the standard deviations at ``(rows, input elements)``."""
        return np.exp(self.perceptron((x - self.centre) / self.spread))

    @classmethod
    def fit(cls, exact: Callable[[Array], Array], rows: Array, samples: Samples, *, part: float = 1.0) -> StdNetwork:
        """Fit it to exact standard deviations, a function of ``(rows, input elements)``, at a part of the points."""
        scales = input_scales(samples).values()
        centre = np.concatenate([scale.centre.ravel() for scale in scales])
        spread = np.concatenate([scale.spread.ravel() for scale in scales])
        points = _points(rows, round(part * POINTS))
        stds = exact(points)
        logs = np.log(np.maximum(stds, np.maximum(LEAST * stds.max(axis=0), np.finfo(np.float32).tiny)))
        middle, width = logs.mean(axis=0), logs.std(axis=0)
        width = np.where(width > 0, width, 1.0)
        fitted = Perceptron.fit((points - centre) / spread, (logs - middle) / width)
        *hidden, (kernel, bias) = fitted.layers
        return cls(centre, spread, Perceptron((*hidden, (kernel * width, bias * width + middle))))

    def model(self, binding: IoBinding, samples: Samples, dtype: str) -> keras.Model:
        """Return it as a Keras model of the samples' inputs; its outputs have the contract's names."""
        scales = input_scales(samples)
        tensors = {tensor.name: keras.Input(tensor.shape, name=tensor.name) for tensor in binding.inputs}
        flat = [
            keras.layers.Flatten()(_through(scales[tensor.name].inward(tensor.name), tensors[tensor.name]))
            for tensor in binding.inputs
        ]
        trunk: Any = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
        *hidden, last = self.perceptron.layers
        weights: list[tuple[keras.Layer, tuple[Array, Array]]] = []
        for index, layer in enumerate(hidden):
            dense = keras.layers.Dense(WIDTH, "tanh", name=f"hidden_{index}")
            trunk = dense(trunk)
            weights.append((dense, layer))
        outputs: dict[str, Any] = {}
        for name, columns, shape in columns_of(binding):
            dense = keras.layers.Dense(columns.size, "exponential", name=f"{name}_flat")
            outputs[std_name(name)] = keras.layers.Reshape(shape, name=std_name(name))(dense(trunk))
            weights.append((dense, (last[0][:, columns], last[1][columns])))
        for dense, (kernel, bias) in weights:
            dense.set_weights([kernel, bias])
        return with_dtype(keras.Model(tensors, outputs), dtype)


def columns_of(binding: IoBinding) -> Sequence[tuple[str, NDArray[np.intp], tuple[int, ...]]]:
    """Return each output and derivative with its places among ``(output elements, 1 + input elements)``, flat."""
    sizes = [_size(tensor) for tensor in binding.inputs]
    stride, starts = 1 + sum(sizes), 1 + np.cumsum([0, *sizes[:-1]])
    places: list[tuple[str, NDArray[np.intp], tuple[int, ...]]] = []
    row = 0
    for output in binding.outputs:
        rows = stride * np.arange(row, row + _size(output))
        places.append((output.name, rows, output.shape))
        for wrt, start, size in zip(binding.inputs, starts, sizes, strict=True):
            columns = (rows[:, None] + start + np.arange(size)).ravel()
            places.append((derivative_name(output.name, wrt.name), columns, derivative_shape(output.shape, wrt.shape)))
        row += _size(output)
    return places


def _points(rows: Array, count: int) -> Array:
    """Return where the exact standard deviations are computed: on rows, beside rows, in their box, and around it."""
    generator = np.random.default_rng(np.random.SeedSequence((0, POINTS_STREAM)))
    lower, upper = rows.min(axis=0), rows.max(axis=0)
    size = upper - lower
    chosen = rows[generator.permutation(len(rows))[:count]]
    beside = rows[generator.integers(len(rows), size=count)]
    shape = (count, rows.shape[1])
    return np.concatenate(
        [
            chosen,
            beside + JITTER * size * generator.standard_normal(shape),
            generator.uniform(lower, upper, shape),
            generator.uniform(lower - MARGIN * size, upper + MARGIN * size, shape),
        ]
    )


def _size(tensor: BoundTensor) -> int:
    return int(np.prod(tensor.shape))


def _through(layers: Sequence[keras.Layer], tensor: Any) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def split_points(points: Array, like: Mapping[str, Array]) -> Table:
    """Return points ``(rows, input elements)`` by input, with the widths of ``like``."""
    ends = np.cumsum([column.shape[1] for column in like.values()])[:-1]
    return dict(zip(like, np.split(points, ends, axis=1), strict=True))
