"""Large calls run in blocks of rows, inside the graph, so that intermediate results stay in the processor's caches.

A million rows of a small network at once write every layer's result to main memory and read it back; blocks of a few
megabytes a layer do not, and what the tape keeps for the backward sweep is a block's instead of the call's. It is in
the graph, so any server does it. docs/speed.md has the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import tensorflow as tf

from gradwire._package import BLOCKS_LOOP
from gradwire_export._derivatives import TensorFunction, Tensors, row_count

# Of the widest layer's result: 64k rows of 20 float32, 8k of 128, the best that were measured.
BLOCK_BYTES: Final = 1 << 22
MIN_BLOCK: Final = 256  # rows; fewer cost more in the loop than the caches give
MAX_BLOCK: Final = 1 << 17  # rows; narrower functions gain nothing from more
# Nodes of a graph up to which calls of one block bypass the loop, in a copy of the graph: 13 µs instead of 25 a call.
# Above, the copy would cost more: an LSTM's Hessian took 6.0 s to load with it and 4.4 without.
SHORTCUT_NODES: Final = 1000
IN_FLIGHT: Final = 2  # blocks that may run in parallel: the second fills what one leaves idle, and memory stays bounded


def in_blocks(call: TensorFunction, specs: Mapping[str, tf.TensorSpec], *, n_repeats: int = 1) -> TensorFunction:
    """Wrap a function of independent rows so that it takes large calls in blocks of nearly equal size.

    Smaller calls, zero rows included, run as they are. The function is traced once, here; do not differentiate
    through the result.
    """
    traced = trace(call, specs)
    graph = traced.graph.as_graph_def(add_shapes=True)
    return split(
        lambda tensors: traced(**tensors),
        traced.structured_outputs,
        block_rows(graph, n_repeats),
        shortcut=len(_nodes(graph)) <= SHORTCUT_NODES,
    )


def trace(call: TensorFunction, specs: Mapping[str, tf.TensorSpec], **options: Any) -> Any:
    """Trace a function of named tensors into a concrete function that takes them by name."""

    def positional(*tensors: tf.Tensor) -> Tensors:
        return call(dict(zip(specs, tensors, strict=True)))

    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    return tf.function(positional, **options).get_concrete_function(*named)


def block_rows(graph: Any, n_repeats: int = 1) -> int:
    """Choose a block: a power of two, such that the widest intermediate result fills ``BLOCK_BYTES``.

    The graph is a GraphDef with shapes, whose function repeats its rows ``n_repeats`` times.
    """
    widest = max((_row_bytes(node) for node in _nodes(graph)), default=1)
    power = round(math.log2(BLOCK_BYTES / (widest * max(n_repeats, 1))))
    return min(max(1 << max(power, 0), MIN_BLOCK), MAX_BLOCK)


def split(
    call: TensorFunction, outputs: Mapping[str, Any], block: int, *, even: bool = True, shortcut: bool = True
) -> TensorFunction:
    """Wrap a function so that calls of more than a block of rows run block by block.

    ``even`` cuts nearly equal blocks instead of full ones and a tail; ``shortcut`` lets calls of one block bypass the
    loop, which puts the function into the graph twice. The outputs are needed for their shapes and dtypes.
    """

    def looped(tensors: Tensors) -> Tensors:
        rows = row_count(tensors)
        count = tf.maximum(-(-rows // block), 1)
        size = -(-rows // count) if even else tf.constant(block)

        def step(index: Any, *done: Any) -> Any:
            part = call({name: column[index * size : (index + 1) * size] for name, column in tensors.items()})
            written = [array.write(index, part[name]) for name, array in zip(outputs, done, strict=True)]
            return index + 1, *written

        arrays = [
            tf.TensorArray(output.dtype, count, infer_shape=False, element_shape=output.shape)
            for output in outputs.values()
        ]
        state = (tf.constant(0), *arrays)
        _, *done = tf.while_loop(
            lambda index, *_: index < count, step, state, parallel_iterations=IN_FLIGHT, name=BLOCKS_LOOP
        )
        return {name: array.concat() for name, array in zip(outputs, done, strict=True)}

    def shortened(tensors: Tensors) -> Tensors:
        return tf.cond(row_count(tensors) <= block, lambda: call(tensors), lambda: looped(tensors))

    return shortened if shortcut else looped


def _nodes(graph: Any) -> list[Any]:
    """Return the nodes of a graph and of every function that it calls."""
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _row_bytes(node: Any) -> int:
    dtype = tf.dtypes.as_dtype(node.attr["T"].type or tf.float32)
    if not dtype.is_floating:
        return 1
    sizes = [[dim.size for dim in shape.dim] for shape in node.attr["_output_shapes"].list.shape]
    batched = [math.prod(size for size in row if size >= 0) for row in sizes if -1 in row]
    return max(batched, default=1) * dtype.size
