"""The float64 graph: a package's own graph, every float32 in it made float64.

The package is rewritten, not the model that it was made from: that needs no Keras, and hides no fault of the export.
Types in attributes, lists of types, constants, and the arguments of functions are changed; the variables keep their
float32 values, widened. The remaining difference between package and float64 graph is float32 rounding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from gradwire._package import GRAPH_FILE
from gradwire_export._checks.fresh_process import Arrays

WIDER: Final = {types_pb2.DT_FLOAT: types_pb2.DT_DOUBLE}
# XLA compiles again for every new batch size; the float64 graph runs a handful of times.
COMPILED: Final = ("_XlaMustCompile", "_XlaCompile")
VARIABLE: Final = "VarHandleOp"
# Ops whose values or code come from outside the graph, or that read float32 as bits: in float64 they would be another
# function.
NOT_WIDENED: Final = frozenset(
    {"Bitcast", "DecodeRaw", "ReadFile", "HashTableV2", "LookupTableFindV2", "XlaCallModule"}
)

HEADINGS: Final = ("Graph execution error", "Detected at node", "Original stack trace", "Node:", "node ")
NODE: Final = re.compile(r"\{\{[^}]*\}\}|\(defined at [^)]*\)")
OP: Final = re.compile(r"Op<name=(\w+);")
LONGEST: Final = 200  # characters of a reason
# The undecorated function: the decorator prints a deprecation, and what it proposes does not load as Serving does.
_load: Final = tf.compat.v1.saved_model.load.__wrapped__


class NoFloat64Graph(Exception):  # noqa: N818 - it names a state, and never leaves this folder
    """A package's graph cannot be run in float64; the message says why."""


class Float64Graph:
    """Some signatures of a package in float64; NoFloat64Graph where that has no meaning, or an op has no kernel."""

    def __init__(self, package: Path, signatures: Collection[str]) -> None:
        meta_graph = read_graph(package)
        self._signatures = {name: meta_graph.signature_def[name] for name in signatures}
        tensors = [
            info
            for signature in self._signatures.values()
            for info in (*signature.inputs.values(), *signature.outputs.values())
        ]
        graph_def = _subgraph(meta_graph.graph_def, {info.name.split(":")[0] for info in tensors})
        values = read_variables(package, graph_def)
        _widen(graph_def)
        self._session = _session(graph_def, values)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Run a signature; floats go in and come out in float64."""
        definition = self._signatures[signature]
        feed = {}
        for name, info in definition.inputs.items():
            dtype = tf.as_dtype(WIDER.get(info.dtype, info.dtype)).as_numpy_dtype
            feed[info.name] = inputs[name].astype(dtype)
        try:
            return self._session.run({name: info.name for name, info in definition.outputs.items()}, feed)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise NoFloat64Graph(_brief(error)) from error

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def read_graph(package: Path) -> Any:
    """Return the graph that Serving loads of a package."""
    saved = saved_model_pb2.SavedModel.FromString((package / GRAPH_FILE).read_bytes())
    return next(graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags)


def _subgraph(whole: graph_pb2.GraphDef, outputs: Collection[str]) -> graph_pb2.GraphDef:
    """Extract the nodes that some nodes need, and the functions that those call."""
    nodes = {node.name: node for node in whole.node}
    functions = {function.signature.name: function for function in whole.library.function}
    needed: dict[str, None] = {}
    called: dict[str, None] = {}
    todo = list(outputs)
    while todo:
        name = todo.pop()
        if name not in needed:
            needed[name] = None
            todo += [entry.lstrip("^").split(":")[0] for entry in nodes[name].input]
    waiting = [nodes[name] for name in needed]
    while waiting:
        for name in _called(waiting.pop()):
            if name in functions and name not in called:
                called[name] = None
                waiting += functions[name].node_def
    graph_def = graph_pb2.GraphDef(versions=whole.versions)
    graph_def.node.extend(node for node in whole.node if node.name in needed)
    graph_def.library.function.extend(functions[name] for name in called)
    return graph_def


def _called(node: Any) -> list[str]:
    names = [value.func.name for value in node.attr.values() if value.HasField("func")]
    return [node.op, *names, *(func.name for value in node.attr.values() for func in value.list.func)]


def read_variables(package: Path, graph_def: graph_pb2.GraphDef) -> dict[str, np.ndarray]:
    """Read the variables of a graph, by node name, as Serving restores them."""
    handles = [node for node in graph_def.node if node.op == VARIABLE]
    if not handles:
        return {}
    with tf.Graph().as_default(), _new_session() as session:
        _load(session, ["serve"], str(package))
        graph = session.graph
        reads = {
            node.name: tf.raw_ops.ReadVariableOp(
                resource=graph.get_tensor_by_name(f"{node.name}:0"), dtype=node.attr["dtype"].type
            )
            for node in handles
        }
        return session.run(reads)


def _session(graph_def: graph_pb2.GraphDef, values: Mapping[str, np.ndarray]) -> Any:
    with tf.Graph().as_default() as graph:
        try:
            tf.graph_util.import_graph_def(graph_def, name="")
            assigned = [
                tf.raw_ops.AssignVariableOp(
                    resource=graph.get_tensor_by_name(f"{name}:0"), value=tf.constant(_wide(value))
                )
                for name, value in values.items()
            ]
            session = _new_session(graph)
            session.run(assigned)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise NoFloat64Graph(_brief(error)) from error
        return session


def _new_session(graph: Any = None) -> Any:
    """Return a Session without a GPU, whose products may be rounded to TF32, and where float64 is slow."""
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # for a few runs it costs more than it gains
    return tf.compat.v1.Session(graph=graph, config=config)


def _wide(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if value.dtype == np.float32 else value


def _widen(graph_def: graph_pb2.GraphDef) -> None:
    """Make every float32 of a graph and of its functions float64, in place."""
    for node in graph_def.node:
        _widen_node(node)
    for function in graph_def.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = WIDER.get(argument.type, argument.type)
        for attributes in function.arg_attr.values():
            _widen_attributes(attributes.attr)
        _widen_attributes(function.attr)
        for node in function.node_def:
            _widen_node(node)


def _widen_node(node: Any) -> None:
    if node.op in NOT_WIDENED:
        raise NoFloat64Graph(f"op {node.op} ({node.name}) has no meaning in float64")
    _widen_attributes(node.attr)


def _widen_attributes(attributes: Any) -> None:
    for name in COMPILED:
        attributes.pop(name, None)
    for value in attributes.values():
        kind = value.WhichOneof("value")
        if kind == "type":
            value.type = WIDER.get(value.type, value.type)
        elif kind == "tensor" and value.tensor.dtype in WIDER:
            value.tensor.CopyFrom(tf.make_tensor_proto(_wide(tf.make_ndarray(value.tensor))))
        elif kind == "list" and value.list.type:
            value.list.type[:] = [WIDER.get(number, number) for number in value.list.type]
        elif kind == "func":
            _widen_attributes(value.func.attr)


def _brief(error: Exception) -> str:
    """Return the line with the reason, without the places and headings that TensorFlow puts around it."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(HEADINGS)]
    text = NODE.sub("", (reasons or [type(error).__name__])[0]).strip()
    op = OP.search(str(error))
    return (f"{op[1]}: {text}" if op else text)[:LONGEST]
