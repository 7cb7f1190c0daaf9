"""The operations of a graph, those of the functions that it calls included."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph


def operations_of(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Yield every operation of a graph and of the functions that it calls."""
    yield from graph.get_operations()
    for definition in graph.as_graph_def().library.function:
        yield from function_def_to_graph(definition).get_operations()
