"""A network's values and derivatives at some points, with their Jacobian with respect to the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._jacobian.dense_network import Graph, Jacobian, Signal

Array: TypeAlias = "NDArray[np.float64]"


@final
@dataclass(frozen=True, slots=True)
class Predictions:
    """What a network predicts; output and input elements of all outputs and inputs, one behind the other."""

    values: Array  # (rows, output elements)
    derivatives: Array  # (rows, output elements, input elements)
    jacobian: Jacobian  # of both


def predict(graph: Graph, point: Array, x: Mapping[str, Array]) -> Predictions:
    """Evaluate a network with these weights, ``(weights,)``, at points ``(rows, width)`` by input, in its order."""
    ends = np.cumsum([column.shape[1] for column in x.values()])
    units = np.split(np.eye(ends[-1]), ends[:-1], axis=1)  # each input element moves alone
    inputs = [
        Signal(column, np.broadcast_to(unit, (len(column), *unit.shape)))
        for column, unit in zip(x.values(), units, strict=True)
    ]
    signals = graph.forward(point, inputs)
    outputs = [signals[place] for place in graph.outputs]
    values = np.concatenate([signal.value for signal in outputs], axis=1)
    derivatives = np.concatenate([signal.tangents for signal in outputs], axis=2).transpose(0, 2, 1)
    # An output may not depend on a weight: what no node writes is zero.
    jacobian = Jacobian(np.zeros((*values.shape, graph.weights)), np.zeros((*derivatives.shape, graph.weights)))
    graph.backward(point, signals, jacobian)
    return Predictions(values, derivatives, jacobian)
