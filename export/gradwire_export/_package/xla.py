"""Signatures compiled by XLA (``compile="xla"``).

XLA compiles again for each number of rows, 50 to 200 ms every time, and keeps every result. Batches are therefore
padded to one of a few sizes inside the graph, on any server; a batching server is configured with the same sizes, and
the warm-up has those up to 1,024 compiled while the package loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire_export._derivatives import TensorFunction, Tensors, row_count
from gradwire_export._package.blocks import block_rows, split, trace

XLA: Final = "xla"
SERVER_FLAG: Final = "--xla_cpu_compilation_enabled=true"  # else a CPU server answers INTERNAL
BATCHING_FILE: Final = "batching_params.pbtxt"  # of a version; read under --enable_per_model_batching_parameters
# Far apart, for here the fixed cost of a call outweighs that of its rows; doubling from there on.
SMALL_SIZES: Final = (1, 8, 64, 512)
JIT_DEVICE: Final = "_JIT: "  # in the message, before the operations that have no kernel there
MAX_REQUEST: Final = 1 << 20  # rows; more than one message of the client carries


def compiled(
    name: str, call: TensorFunction, specs: Mapping[str, tf.TensorSpec], *, n_repeats: int = 1
) -> TensorFunction:
    """Wrap a function of independent rows so that XLA runs it, in a few sizes, large calls in blocks."""
    jitted = trace(call, specs, jit_compile=True)
    _require_compilable(name, jitted, specs)
    block = block_rows(jitted.graph.as_graph_def(add_shapes=True), n_repeats)
    sizes = tf.constant(batch_sizes(block))

    def padded(tensors: Tensors) -> Tensors:
        rows = row_count(tensors)
        size = tf.gather(sizes, tf.searchsorted(sizes, rows[None])[0])
        outputs = jitted(**{name: _pad(column, size - rows) for name, column in tensors.items()})
        return {name: output[:rows] for name, output in outputs.items()}

    return split(padded, jitted.structured_outputs, block, even=False)


def compiled_entry(call: TensorFunction, specs: Mapping[str, tf.TensorSpec], *, n_repeats: int = 1) -> dict[str, Any]:
    """Return the card's entry of a compiled package, whose `serving_default` computes ``call``."""
    graph = trace(call, specs).graph.as_graph_def(add_shapes=True)
    return {"by": XLA, "batch_sizes": batch_sizes(block_rows(graph, n_repeats)), "needs": SERVER_FLAG}


def batch_sizes(block: int) -> list[int]:
    """Return the batch sizes that are compiled: a few small ones, then doubling up to a block."""
    doubling = [1 << power for power in range(SMALL_SIZES[-1].bit_length(), block.bit_length())]
    return sorted({block, *(size for size in (*SMALL_SIZES, *doubling) if size <= block)})


def batching_text(sizes: Sequence[int]) -> str:
    """Return the text of a package's own ``BatchingParameters``.

    The sizes continue in whole blocks up to the largest request, instead of splitting: Serving requires the last one to
    be ``max_batch_size``, and the graph itself runs in blocks.
    """
    whole = range(2 * sizes[-1], MAX_REQUEST + 1, max(sizes[-1], MAX_REQUEST // 16))
    allowed = sorted({*sizes, *whole, MAX_REQUEST})
    return "\n".join(
        [
            "# Read with --enable_batching --enable_per_model_batching_parameters. Models without such a file are not",
            "# batched then. The rows of a batch are filled up to the next of these sizes, for XLA compiles each size.",
            f"max_batch_size {{ value: {MAX_REQUEST} }}",
            *(f"allowed_batch_sizes: {size}" for size in allowed),
            "batch_timeout_micros { value: 300 }",
            "max_enqueued_batches { value: 128 }",
            "",
        ]
    )


def write_batching(package: Path, sizes: Sequence[int]) -> None:
    """Write the batching configuration into a version directory."""
    (package / BATCHING_FILE).write_text(batching_text(sizes))


def _pad(column: Any, missing: Any) -> Any:
    """Append copies of the first row, which are as valid an input as it is; zeros where there is no row."""
    first = tf.concat([column[:1], tf.zeros([1, *column.shape[1:]], column.dtype)], 0)[:1]
    return tf.concat([column, tf.repeat(first, missing, axis=0)], 0)


def _require_compilable(name: str, jitted: Any, specs: Mapping[str, tf.TensorSpec]) -> None:
    row = {key: tf.ones([1, *spec.shape[1:]], spec.dtype) for key, spec in specs.items()}
    try:
        jitted(**row)
    except tf.errors.OpError as error:
        reason = error.message.partition(JIT_DEVICE)[2] or error.message
        raise ConversionError(
            f"XLA cannot compile signature {name!r}: {reason.strip().splitlines()[0]}; export it without compile"
        ) from error
