"""A network's values and derivatives at some points, with their Jacobian with respect to some of its weights.

Networks of dense layers have it from one sweep a row in NumPy. Any other model takes a reverse sweep for each value and
derivative of each row in TensorFlow, as many at once as pfor vectorises: the sweep of one row costs the same in a batch
of any size, where ``tape.jacobian`` of a batch would sweep the whole batch for each.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from gradwire_export import right_gradients
from gradwire_training._jacobian import Graph, predict, read_graph
from gradwire_training._models import IoBinding, array_of

Array: TypeAlias = "NDArray[np.float64]"
# Of a block of rows: which, the predictions (rows, output elements, 1 + input elements), of the value and then its
# derivatives, and their Jacobian (rows, output elements, 1 + input elements, weights).
Block: TypeAlias = "tuple[slice, Array, Array]"
# Points (sweeps, input elements) and elements of their predictions (sweeps,) -> predictions, and Jacobian rows.
Sweeps: TypeAlias = "Callable[[Any, Any], tuple[Any, Any]]"

MOST_WEIGHTS: Final = 600
BLOCK_BYTES: Final = 64 * 2**20  # of a Jacobian at once
BLOCK_SWEEPS: Final = 256  # at once: more are no faster
WEIGHTS_STREAM: Final = 8  # of random numbers, apart from those behind points, weights and splits
LOOP_SWEEPS: Final = 32  # at once, one after the other
# What tracing raises where pfor knows no form of an operation, such as the loop of a recurrent layer, and where an
# operation has no gradient.
NOT_TRACED: Final = (TypeError, ValueError, NotImplementedError, LookupError)


class Network(ABC):
    """A network in float64 at its fitted weights, seen as a function of some of them."""

    weights: Array  # those that vary
    row_seconds: float = 0.0  # for the Jacobian of a row, where that is what bars take their time for

    @abstractmethod
    def gradients(self, x: Mapping[str, Array]) -> Iterator[Block]:
        """Yield blocks of points ``(rows, elements)`` by input, in the network's order."""


def network_of(model: keras.Model, binding: IoBinding) -> Network:
    """Choose how the Jacobian of a model in float64 is computed; its trainable weights vary.

    Raises one of ``NOT_TRACED`` where TensorFlow knows no derivative of an operation or of its gradient.
    """
    graph = read_graph(model, model.trainable_variables)
    return Taped(model, binding) if graph is None else Swept(graph, _weights(model))


@final
class Swept(Network):
    """A network of dense layers, in NumPy."""

    def __init__(self, graph: Graph, point: Array) -> None:
        self._graph, self._point = graph, point
        self._chosen = choose(len(point))
        self.weights = point[self._chosen]

    @override
    def gradients(self, x: Mapping[str, Array]) -> Iterator[Block]:
        rows, width = len(next(iter(x.values()))), sum(column.shape[1] for column in x.values())
        outputs = predict(self._graph, self._point, {name: column[:1] for name, column in x.items()}).values.shape[1]
        for part in _blocks(rows, 8 * outputs * (1 + width) * len(self._point)):
            made = predict(self._graph, self._point, {name: column[part] for name, column in x.items()})
            predicted = np.concatenate([made.values[:, :, None], made.derivatives], axis=2)
            both = np.concatenate([made.jacobian.values[:, :, None], made.jacobian.derivatives], axis=2)
            yield part, predicted, both[..., self._chosen]


@final
class Taped(Network):
    """A model of any layers, in TensorFlow."""

    def __init__(self, model: keras.Model, binding: IoBinding) -> None:
        self._model, self._binding = model, binding
        point = _weights(model)
        chosen = choose(len(point))
        self.weights = point[chosen]
        self._sources = [variable.value for variable in model.trainable_variables]
        ends = np.cumsum([math.prod(source.shape) for source in self._sources])
        parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
        self._chosen = [part - first for part, first in zip(parts, [0, *ends[:-1]], strict=True)]
        self._widths = [math.prod(tensor.shape) for tensor in binding.inputs]
        self._outputs = sum(math.prod(tensor.shape) for tensor in binding.outputs)
        self._call = tf.function(self._values, autograph=False)  # some gradients are right in a graph of its own alone
        self._block = min(BLOCK_SWEEPS, max(1, BLOCK_BYTES // (8 * len(point))))
        try:
            self._sweeps, seconds = self._traced(self._vectorised, self._block)
        except NOT_TRACED:
            self._block = min(LOOP_SWEEPS, self._block)
            self._sweeps, seconds = self._traced(self._one_by_one, self._block)
        self.row_seconds = seconds / self._block * self._outputs * (1 + sum(self._widths))

    @override
    def gradients(self, x: Mapping[str, Array]) -> Iterator[Block]:
        points = np.concatenate(list(x.values()), axis=1)
        row = (self._outputs, 1 + points.shape[1])
        for part in _blocks(len(points), 8 * math.prod(row) * len(self.weights)):
            size = part.stop - part.start
            predicted, jacobian = self._swept(
                np.repeat(points[part], math.prod(row), axis=0), np.tile(np.arange(math.prod(row)), size)
            )
            yield part, predicted.reshape(size, *row), jacobian.reshape(size, *row, -1)

    def _swept(self, points: Array, elements: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return the predictions of an element at each point, and their Jacobian ``(points, weights)``."""
        made: list[tuple[Array, Array]] = []
        for first in range(0, len(points), self._block):
            # The graph is of one size: the last block is filled up.
            rows = np.minimum(np.arange(first, first + self._block), len(points) - 1)
            predicted, jacobian = self._sweeps(tf.constant(points[rows]), tf.constant(elements[rows]))
            made.append((predicted.numpy(), jacobian.numpy()))
        predicted, jacobian = (np.concatenate(each)[: len(points)] for each in zip(*made, strict=True))
        return predicted, jacobian

    def _traced(self, sweeps: Callable[[Any, Any], Any], block: int) -> tuple[Sweeps, float]:
        """Return the graph that sweeps a block, and the seconds that it takes."""
        like = tf.zeros((block, sum(self._widths)), tf.float64), tf.zeros(block, tf.int64)
        with right_gradients(), _silent(tf.get_logger()):  # pfor writes the whole graph that it cannot convert
            graph = tf.function(sweeps, autograph=False).get_concrete_function(*like)
        graph(*like)
        began = time.perf_counter()
        graph(*like)[0].numpy()
        return graph, time.perf_counter() - began

    def _vectorised(self, points: Any, elements: Any) -> Any:
        return tf.vectorized_map(self._sweep, (points, elements), fallback_to_while_loop=False)

    def _one_by_one(self, points: Any, elements: Any) -> Any:
        return tf.map_fn(self._sweep, (points, elements), fn_output_signature=(tf.float64, tf.float64))

    def _sweep(self, arguments: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return one element of value and derivatives at one point, and its gradient with the chosen weights."""
        point, element = arguments
        kinds = 1 + sum(self._widths)
        with tf.GradientTape() as of_weights:
            with tf.GradientTape(watch_accessed_variables=False) as of_point:
                of_point.watch(point)
                value = tf.reduce_sum(self._call(point) * tf.one_hot(element // kinds, self._outputs, dtype=tf.float64))
            slopes = of_point.gradient(value, point, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            predicted = tf.concat([value[None], slopes], 0)
            chosen = tf.reduce_sum(predicted * tf.one_hot(element % kinds, kinds, dtype=tf.float64))
        parts = of_weights.gradient(chosen, self._sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        dense: list[Any] = [tf.convert_to_tensor(part) for part in parts]
        flat = [tf.gather(tf.reshape(part, [-1]), own) for part, own in zip(dense, self._chosen, strict=True)]
        return chosen, tf.concat(flat, 0)

    def _values(self, point: Any) -> Any:
        """Return every output at one point, flat."""
        parts = tf.split(point, self._widths)
        x = {
            tensor.name: tf.reshape(part, [1, *tensor.shape])
            for tensor, part in zip(self._binding.inputs, parts, strict=True)
        }
        made = self._binding.call(self._model, x, training=False)
        return tf.concat([tf.reshape(made[tensor.name], [-1]) for tensor in self._binding.outputs], 0)


def choose(count: int) -> NDArray[np.intp]:
    """Choose the weights that vary: all, or as many as are quick to handle, at random."""
    if count <= MOST_WEIGHTS:
        return np.arange(count)
    generator = np.random.default_rng(np.random.SeedSequence((0, WEIGHTS_STREAM)))
    return np.sort(generator.choice(count, MOST_WEIGHTS, replace=False))


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _weights(model: keras.Model) -> Array:
    return np.concatenate([array_of(weight).ravel() for weight in model.trainable_variables]).astype(np.float64)


def _blocks(rows: int, row_bytes: int) -> Iterator[slice]:
    """Yield blocks of rows whose Jacobian is not too large."""
    block = max(1, BLOCK_BYTES // row_bytes)
    for first in range(0, rows, block):
        yield slice(first, min(first + block, rows))
