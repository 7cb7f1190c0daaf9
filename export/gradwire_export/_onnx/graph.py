"""A signature written as a graph of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import onnx  # pyright: ignore[reportMissingImports] - in the environment of the bridges
from onnx import helper, numpy_helper  # pyright: ignore[reportMissingImports] - in the environment of the bridges

from gradwire._errors import ConversionError
from gradwire._package import Signature
from gradwire_export._conversion import FlatGraph
from gradwire_export._onnx import arrays, elementwise, products
from gradwire_export._onnx.batch_sizes import Draw, Static, statics_of
from gradwire_export._onnx.emitter import Emitter, used
from gradwire_export._onnx.operation import Convert, Operation, Unsupported, named

OPERATIONS: Final[Mapping[str, Convert]] = {**elementwise.OPERATIONS, **arrays.OPERATIONS, **products.OPERATIONS}
SKIPPED: Final = frozenset({"Placeholder", "Const", "Assert", "NoOp"})
BATCH: Final = "batch"  # the name of the first axis, for people
# What can be done about an operation that is not written, where there is something.
_WAYS_OUT: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("Conv3D", "MaxPool3D", "AvgPool3D"), "three axes: convolution and pooling of one and two are written"
    ),
    **dict.fromkeys(("LookupTableFindV2", "HashTableV2"), "a table: give the model numbers"),
}


@final
@dataclass(frozen=True)
class SignatureGraph:
    """A signature as nodes of ONNX.

    Attributes:
        signature: its names, dtypes and shapes.
        nodes: in the order in which they can run.
        constants: by name.
    """

    signature: Signature
    nodes: list[onnx.NodeProto]
    constants: Mapping[str, np.ndarray]


def signature_graph(graph: FlatGraph, signature: Signature, draw: Draw) -> SignatureGraph:
    """Write a signature.

    Args:
        graph: of the signature.
        signature: the contract's names and shapes of it.
        draw: makes inputs of a number of rows at which the graph can be run.

    Raises:
        ConversionError: it has operations that are not written; each is named.
    """
    statics = statics_of(graph, draw)
    emit = Emitter(next(iter(signature.inputs)))
    names = {tensor: name for name, tensor in graph.inputs.items()}
    refused: dict[str, str] = {}
    for node in _needed(graph, statics):
        _write(node, statics, names, emit, refused)
    if refused:
        raise ConversionError("; ".join(f"{kind} ({why})" for kind, why in sorted(refused.items())))
    for name, tensor in graph.outputs.items():
        emit.nodes.append(helper.make_node("Identity", [named(tensor, statics, names, emit)], [name]))
    nodes = used(emit.nodes, list(signature.outputs))
    needed = {name for node in nodes for name in node.input}
    return SignatureGraph(signature, nodes, {name: array for name, array in emit.constants.items() if name in needed})


def _needed(graph: FlatGraph, statics: Mapping[str, Static]) -> list[Any]:
    """Return the operations that the outputs need, but for what follows from the number of rows, in their order."""
    needed = {tensor.split(":")[0] for tensor in graph.outputs.values() if not _is_known(tensor, statics)}
    last_first = []
    for node in reversed(graph.graph_def.node):
        if node.name in needed and node.op not in SKIPPED:
            needed.update(entry.split(":")[0] for entry in node.input if not _is_known(entry, statics))
            last_first.append(node)
    return last_first[::-1]


def _is_known(tensor: str, statics: Mapping[str, Static]) -> bool:
    static = statics.get(tensor if ":" in tensor else f"{tensor}:0")
    return static is not None and static.is_known


def _write(
    node: Any, statics: Mapping[str, Static], names: dict[str, str], emit: Emitter, refused: dict[str, str]
) -> None:
    """Write an operation; one that cannot be written is noted, and so are none of those behind it."""
    operation = Operation(node, statics, names, emit)
    if any(not statics[tensor].is_known and tensor not in names for tensor in operation.inputs if tensor in statics):
        if node.op not in OPERATIONS:
            refused.setdefault(node.op, _WAYS_OUT.get(node.op, "no ONNX form of it is written"))
        return
    convert = OPERATIONS.get(node.op)
    if convert is None:
        refused.setdefault(node.op, _WAYS_OUT.get(node.op, "no ONNX form of it is written"))
        return
    try:
        written = convert(operation)
    except Unsupported as error:
        refused.setdefault(node.op, str(error))
        return
    results = [written] if isinstance(written, str) else written
    names.update((f"{node.name}:{index}", result) for index, result in enumerate(results))


def value_info(signature: Signature, *, outputs: bool) -> list[onnx.ValueInfoProto]:
    """Return the types of a signature's inputs or outputs; the batch has a name instead of a size."""
    specs = signature.outputs if outputs else signature.inputs
    return [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), [BATCH, *spec.shape[1:]]
        )
        for name, spec in specs.items()
    ]


def initializers(constants: Mapping[str, np.ndarray]) -> list[onnx.TensorProto]:
    """Return constants as a graph holds them."""
    return [numpy_helper.from_array(array, name) for name, array in constants.items()]
