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
from gradwire_export._sources import Function


def with_visible_means(function: Function) -> Function:
    """Return a function that is right to second order under ``right_gradients``; itself where it has no variance."""
    if not has_variances(function.call, function.inputs):
        return function

    def call(tensors: Tensors) -> Tensors:
        return function.call(tensors)

    return replace(function, call=tf.function(call, input_signature=[function.inputs]))


def has_variances(call: TensorFunction, specs: Mapping[str, tf.TensorSpec]) -> bool:
    """Whether a function holds the mean in a variance fixed: in a graph of its own it is right to second order."""
    graph = tf.function(call).get_concrete_function(dict(specs)).graph
    return any(is_mean_of_variance(operation) for operation in operations_of(graph))
