"""A Keras model read as a graph of dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import keras
import numpy as np

from gradwire_training._jacobian.activations import find
from gradwire_training._jacobian.dense_network import (
    Activation,
    Affine,
    Concatenation,
    Graph,
    Linear,
    Node,
    Step,
    Sum,
    Weight,
)
from gradwire_training._models import array_of, ordered_tensors

# They leave the elements of a row in their order, and the graph has flat rows.
SHAPES: Final = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Identity)


def read_graph(model: keras.Model, trainable: Sequence[Any]) -> Graph | None:
    """Return a float64 model's graph; ``trainable`` are the variables of the vector of all weights, in its order.

    None if some layer is not a dense, scaling, activation, joining, adding or reshaping one, or is used twice.
    """
    reader = _Reader(model, trainable)
    try:
        return reader.read()
    except _UnknownLayer:
        return None


class _UnknownLayer(Exception):  # noqa: N818 - never leaves this module
    """The model is not a graph of dense layers."""


@final
class _Reader:
    def __init__(self, model: keras.Model, trainable: Sequence[Any]) -> None:
        sizes = [int(np.prod(variable.shape)) for variable in trainable]
        self._model = model
        self._first = dict(zip(map(id, trainable), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self._weights = sum(sizes)
        inputs, self._outputs = ordered_tensors(model)
        self._places = {id(tensor): place for place, tensor in enumerate(inputs)}
        self._signals = len(inputs)
        self._steps: list[Step] = []

    def read(self) -> Graph:
        if isinstance(self._model, keras.Sequential):
            return self._read_chain()
        for layer in self._model.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                self._add(layer)
        if missing := [tensor for tensor in self._outputs if id(tensor) not in self._places]:
            raise _UnknownLayer(missing)
        outputs = tuple(self._places[id(tensor)] for tensor in self._outputs)
        return Graph(tuple(self._steps), outputs, self._weights)

    def _read_chain(self) -> Graph:
        """Read a Sequential, whose layers do not share tensors: each was called once more when it was added."""
        place, row = (0,), tuple(self._model.inputs[0].shape)
        for layer in self._model.layers:
            place = self._append(layer, place, [row[1:]])
            row = layer.compute_output_shape(row)
        return Graph(tuple(self._steps), place, self._weights)

    def _add(self, layer: keras.Layer) -> None:
        try:
            inputs, output = keras.tree.flatten(layer.input), layer.output
        except (AttributeError, ValueError) as error:  # used more than once
            raise _UnknownLayer(layer.name) from error
        if unknown := [tensor for tensor in inputs if id(tensor) not in self._places]:
            raise _UnknownLayer(unknown)
        reads = tuple(self._places[id(tensor)] for tensor in inputs)
        place = self._append(layer, reads, [tuple(tensor.shape[1:]) for tensor in inputs])
        self._places[id(output)] = place[0]

    def _append(self, layer: keras.Layer, reads: tuple[int, ...], rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        for node in self._nodes(layer, rows):
            self._steps.append(Step(node, reads))
            reads = (self._signals,)
            self._signals += 1
        return reads

    def _nodes(self, layer: keras.Layer, rows: Sequence[tuple[int, ...]]) -> list[Node]:
        """Return a layer as nodes, one after the other; ``type is``, since a subclass may compute something else."""
        kind = type(layer)
        if layer.activity_regularizer is not None:
            raise _UnknownLayer(layer.name)
        if kind in SHAPES:
            return []
        if kind is keras.layers.Dense and len(rows[0]) == 1:
            kernel, *bias = [
                Weight(self._first.get(id(variable)), array_of(variable).astype(np.float64))
                for variable in layer.weights
            ]
            return [Linear(kernel, bias[0] if bias else None), *_activation(layer.activation)]
        if kind is keras.layers.Activation:
            return _activation(layer.activation)
        if kind is keras.layers.Rescaling:
            scaling = (np.asarray(part, np.float64) for part in (layer.scale, layer.offset))
            return [Affine(*(np.broadcast_to(part, rows[0]).ravel() for part in scaling))]
        if kind is keras.layers.Concatenate and all(len(row) == 1 for row in rows):
            return [Concatenation()]
        if kind is keras.layers.Add and len(set(rows)) == 1:
            return [Sum()]
        raise _UnknownLayer(layer.name)


def _activation(function: Any) -> list[Node]:
    known = find(function)
    if known is None:
        raise _UnknownLayer(function)
    return [] if function is keras.activations.linear else [Activation(known)]
