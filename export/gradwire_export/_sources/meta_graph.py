"""The graph of a SavedModel that is exported: which of several, and what of TensorFlow 1 is in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from tensorflow.core.protobuf import saved_model_pb2

from gradwire._errors import ConversionError, PackageError, UsageError
from gradwire._package import GRAPH_FILE
from gradwire_export._reasons import reason

SERVE: Final = frozenset({"serve"})
REFERENCE_VARIABLES: Final = frozenset({"Variable", "VariableV2"})
TABLES: Final = frozenset({"HashTableV2", "MutableHashTableV2"})
# Loops and branches of TensorFlow 1, whose gradients need what TensorFlow kept beside the graph and did not save.
CONTROL_FLOW: Final = frozenset(
    {"Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "Switch", "Merge", "LoopCond"}
)
# Tables whose handles are references, which no function of TensorFlow 2 takes.
OLD_TABLES: Final = frozenset({"HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableDenseHashTable"})


def read_meta_graph(path: Path, tags: Collection[str] | None) -> Any:
    """Return the one graph of a SavedModel that has these tags, by default the only one, or that of the tag serve."""
    try:
        saved = saved_model_pb2.SavedModel.FromString((path / GRAPH_FILE).read_bytes())
    except Exception as error:  # whatever the parser raises
        raise PackageError(f"cannot load {path} as a SavedModel: {reason(error)}") from error
    graphs = {frozenset(graph.meta_info_def.tags): graph for graph in saved.meta_graphs}
    if not graphs:
        raise PackageError(f"cannot load {path} as a SavedModel: it holds no graph")
    chosen = frozenset(tags) if tags is not None else next(iter(graphs)) if len(graphs) == 1 else SERVE
    if chosen not in graphs:
        sets = "; ".join(sorted(",".join(sorted(tags)) for tags in graphs))
        raise UsageError(
            f"{path} has no graph with the tags {','.join(sorted(chosen))}, but some with {sets}: choose with --tags "
            "(tags=[…])"
        )
    return graphs[chosen]


def needs_freezing(path: Path, meta_graph: Any) -> bool:
    """Whether a graph is of TensorFlow 1 and holds what TensorFlow 2 does not load: reference variables or tables.

    A ConversionError where it holds what cannot be exported at all.
    """
    if meta_graph.HasField("object_graph_def"):
        return False
    for node in nodes_of(meta_graph.graph_def):
        what = (
            "a loop or branch of TensorFlow 1, whose gradient is not saved with it: build it again with "
            "tf.compat.v1.enable_control_flow_v2()"
            if node.op in CONTROL_FLOW
            else "a table of TensorFlow 1 that TensorFlow 2 does not read: build it again with tf.lookup.StaticHashTable"
            if node.op in OLD_TABLES
            else ""
        )
        if what:
            raise ConversionError(f"{path} holds {node.op} ({node.name!r}), {what}")
    return any(node.op in REFERENCE_VARIABLES | TABLES for node in nodes_of(meta_graph.graph_def))


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of every function that it calls."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
