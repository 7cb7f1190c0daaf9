"""Puts a function into a graph of its own where a gradient has to be chosen by the operations around it.

Outside such a graph a tape never asks for the gradient of a StopGradient, and eagerly there is nothing around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import tensorflow as tf

from gradwire_export._derivatives import TensorFunction, Tensors
from gradwire_export._gradients.graphs import operations_of
from gradwire_export._gradients.means import is_mean_of_variance
from gradwire_export._gradients.ties import is_tied
from gradwire_export._sources import Function


def with_visible_graph(function: Function) -> Function:
    """Return a function that is right under ``right_gradients``; itself where no gradient is chosen by its graph."""
    if not needs_graph(function.call, function.inputs):
        return function

    def call(tensors: Tensors) -> Tensors:
        return function.call(tensors)

    return replace(function, call=tf.function(call, input_signature=[function.inputs]))


def needs_graph(call: TensorFunction, specs: Mapping[str, tf.TensorSpec]) -> bool:
    """Whether derivatives of a function are right in a graph of its own alone: it holds means, or has ties."""
    graph = tf.function(call).get_concrete_function(dict(specs)).graph
    return any(is_mean_of_variance(operation) or is_tied(operation) for operation in operations_of(graph))
