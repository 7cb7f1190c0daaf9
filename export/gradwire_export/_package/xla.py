"""Signatures compiled by XLA (``compile="xla"``).

XLA compiles anew for each number of rows, 50 to 200 ms every time, and keeps every result. So rows are filled up to one
of a few sizes inside the graph, where any server does it; a batching server is told the same sizes, and the warm-up
has them all compiled while the package loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire_export._derivatives import Call, Tensors
from gradwire_export._package.blocks import block_rows, split, trace

XLA: Final = "xla"
SERVER_FLAG: Final = "--xla_cpu_compilation_enabled=true"  # else a CPU server answers INTERNAL
BATCHING_FILE: Final = "batching_params.pbtxt"  # of a version; read under --enable_per_model_batching_parameters
SMALL_SIZES: Final = (
    1,
    8,
    64,
    512,
)  # far apart, for there a call's own cost outweighs its rows'; then doubling
JIT_DEVICE: Final = "_JIT: "  # in the message, before the operations that have no kernel there
MAX_REQUEST: Final = 1 << 20  # rows; more than one message of the client carries


def compiled(name: str, call: Call, specs: Mapping[str, tf.TensorSpec], *, copies: int = 1) -> Call:
    """Wraps a function of independent rows so that XLA runs it, in a few sizes, large calls in blocks.

    Args:
        name: the signature's, for messages.
        call: from ``{input: tensor}`` to ``{output: tensor}``, each with the batch first.
        specs: of its inputs, by name, batch axis None.
        copies: how many times the function repeats its rows inside.

    Raises:
        ConversionError: XLA cannot compile it.
    """
    jitted = trace(call, specs, jit_compile=True)
    _require_compilable(name, jitted, specs)
    block = block_rows(jitted.graph.as_graph_def(add_shapes=True), copies)
    sizes = tf.constant(batch_sizes(block))

    def filled_up(tensors: Tensors) -> Tensors:
        rows = tf.shape(next(iter(tensors.values())))[0]
        size = tf.gather(sizes, tf.searchsorted(sizes, rows[None])[0])
        answers = jitted(**{name: _fill(column, size - rows) for name, column in tensors.items()})
        return {name: answer[:rows] for name, answer in answers.items()}

    return split(filled_up, jitted.structured_outputs, block, even=False)


def compiled_entry(call: Call, specs: Mapping[str, tf.TensorSpec], *, copies: int = 1) -> dict[str, Any]:
    """Gives what the card says of a compiled package.

    Args:
        call: what `serving_default` computes.
        specs: of its inputs.
        copies: how many times it repeats its rows inside.
    """
    graph = trace(call, specs).graph.as_graph_def(add_shapes=True)
    return {"by": XLA, "batch_sizes": batch_sizes(block_rows(graph, copies)), "needs": SERVER_FLAG}


def batch_sizes(block: int) -> list[int]:
    """Gives the numbers of rows that are compiled: a few small ones, then doubling up to a block.

    Args:
        block: the largest.
    """
    doubling = [1 << power for power in range(SMALL_SIZES[-1].bit_length(), block.bit_length())]
    return sorted({block, *(size for size in (*SMALL_SIZES, *doubling) if size <= block)})


def batching_text(sizes: Sequence[int]) -> str:
    """Writes a package's own ``BatchingParameters``.

    The sizes go on in whole blocks up to the largest request, instead of splitting: Serving wants the last one to be
    ``max_batch_size``, and the graph takes blocks by itself.

    Args:
        sizes: as ``batch_sizes`` gives them.
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
    """Writes the batching configuration into a version directory."""
    (package / BATCHING_FILE).write_text(batching_text(sizes))


def _fill(column: Any, missing: Any) -> Any:
    """Adds copies of the first row: they are as good an input as it is; zeros where there is no row."""
    first = tf.concat([column[:1], tf.zeros([1, *column.shape[1:]], column.dtype)], 0)[:1]
    return tf.concat([column, tf.repeat(first, missing, axis=0)], 0)


def _require_compilable(name: str, jitted: Any, specs: Mapping[str, tf.TensorSpec]) -> None:
    row = {given: tf.ones([1, *spec.shape[1:]], spec.dtype) for given, spec in specs.items()}
    try:
        jitted(**row)
    except tf.errors.OpError as error:
        reason = error.message.partition(JIT_DEVICE)[2] or error.message
        raise ConversionError(
            f"XLA cannot compile signature {name!r}: {reason.strip().splitlines()[0]}; export it without compile"
        ) from error
