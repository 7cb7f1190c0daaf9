"""Large calls in blocks return what a single block returns, row by row, for any model and number of rows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tests.export.cases import draw

from gradwire._numerics import ALLOWED_EPS, compare
from gradwire_export._package import blocks
from gradwire_export._package.blocks import block_rows, in_blocks, split, trace
from gradwire_export._package.signatures import signature_body

BLOCK = 4  # rows; so that a handful of rows is a large call
ROWS = (0, 1, 4, 5, 11)
X = {"x": tf.TensorSpec((None, 1), tf.float64)}


def rows_of(call, count):
    """The outputs of a function of one input for count rows 0, 1, …."""
    x = tf.range(count, dtype=tf.float64)[:, None]
    return {name: output.numpy() for name, output in tf.function(call)({"x": x}).items()}


@pytest.mark.slow
def test_every_model_gives_the_same_rows_in_blocks(case):
    """Value and derivatives of 11 rows in blocks of 4 are those of 11 rows at once, in and out of the shortcut."""
    spec = case.spec()
    inputs = spec.inputs("serving_default")
    traced = trace(signature_body(spec, "serving_default"), inputs)
    tensors = draw(spec.function, case.domain, rows=11)
    whole = {name: array.numpy() for name, array in traced(**_constants(tensors)).items()}
    for shortcut in (True, False):
        blocked = split(lambda parts: traced(**parts), traced.structured_outputs, BLOCK, shortcut=shortcut)
        outputs = trace(blocked, inputs)(**_constants(tensors))
        assert outputs.keys() == whole.keys()
        for name, array in outputs.items():
            assert compare(array.numpy(), whole[name]).eps <= ALLOWED_EPS, name


def _constants(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("even", [True, False])
def test_any_number_of_rows_keeps_order_and_shape(even, shortcut):
    """No row, one, a full block, one more, several and a tail: each row once, in its place, of every rank."""
    traced = trace(lambda t: {"f": t["x"], "pair": tf.stack([t["x"], 2 * t["x"]], 1)}, X)
    blocked = split(lambda t: traced(**t), traced.structured_outputs, BLOCK, even=even, shortcut=shortcut)
    for count in ROWS:
        outputs = rows_of(blocked, count)
        np.testing.assert_array_equal(outputs["f"][:, 0], np.arange(count))
        assert outputs["pair"].shape == (count, 2, 1)
        np.testing.assert_array_equal(outputs["pair"][:, 1, 0], 2 * np.arange(count))


def test_blocks_are_of_the_requested_size():
    """Even blocks differ by a row at most and none is above the size; uneven ones are full but for the tail."""
    seen = trace(lambda t: {"rows": tf.fill([tf.shape(t["x"])[0]], tf.shape(t["x"])[0])}, X)

    def sizes(count, **options):
        blocked = split(lambda t: seen(**t), seen.structured_outputs, BLOCK, **options)
        return rows_of(blocked, count)["rows"].tolist()

    assert sizes(4) == [4] * 4
    assert sizes(5) == [3, 3, 3, 2, 2]
    assert sizes(9) == [3] * 9
    assert sizes(9, even=False) == [*[4] * 8, 1]


def _layers(width):
    w = tf.ones([1, width])
    return lambda t: {"f": tf.reduce_sum(tf.tanh(t["x"] @ w), 1, keepdims=True)}


@pytest.mark.parametrize(
    ("width", "n_repeats", "rows"), [(20, 1, 65536), (128, 1, 8192), (128, 4, 2048), (1, 1, 131072)]
)
def test_a_block_fills_the_cache_with_the_widest_layer(width, n_repeats, rows):
    """The sizes that were measured as best: 64k rows of 20 float32, 8k of 128; fewer where rows are repeated inside."""
    traced = trace(_layers(width), {"x": tf.TensorSpec((None, 1), tf.float32)})
    assert block_rows(traced.graph.as_graph_def(add_shapes=True), n_repeats) == rows


def test_layers_inside_a_loop_count():
    """The width of a block is that of the widest tensor, though only a loop's body knows it."""

    def looped(t):
        wide = tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, tf.tanh(y)), (0, tf.tile(t["x"], [1, 512])))[1]
        return {"f": wide[:, :1]}

    graph = trace(looped, {"x": tf.TensorSpec((None, 1), tf.float32)}).graph.as_graph_def(add_shapes=True)
    assert block_rows(graph) == 2048


def test_small_calls_of_small_graphs_bypass_the_loop(monkeypatch):
    """The function stands twice in a small graph, for the shortcut, and once in a large one."""

    def copies_of_sine():
        graph = trace(in_blocks(lambda t: {"f": tf.sin(t["x"])}, X), X).graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        return sum("PartitionedCall" in node.op for node in nodes)

    assert copies_of_sine() == 2
    monkeypatch.setattr(blocks, "SHORTCUT_NODES", 0)
    assert copies_of_sine() == 1
