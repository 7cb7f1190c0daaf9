"""A signature's graph without calls, variables and blocks: what the operations of one block of rows compute.

It is read from the package as Serving restores it: the graph as saved, the variables through the restore operation. The
loop over blocks (``_package/blocks.py``) stays behind, for a block's own graph takes any number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from gradwire._errors import ConversionError

CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
BRANCHES: Final = frozenset({"If", "StatelessIf"})
LOOPS: Final = frozenset({"While", "StatelessWhile"})
# What can be done about loops and branches that are the model's own.
CONTROL_FLOW: Final = {
    **dict.fromkeys(LOOPS, "a loop: build the model without, such as a recurrent layer with unroll=True"),
    **dict.fromkeys((*BRANCHES, "Case", "StatelessCase"), "a branch: choose by element instead, with tf.where"),
}
JOINED: Final = "TensorListConcatV2"  # the blocks' results, behind the loop
PASSED: Final = frozenset({"Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "ReadVariableOp"})
VARIABLE: Final = "VarHandleOp"


@final
@dataclass(frozen=True)
class FlatGraph:
    """Operations in the order in which they can run, with whole tensors as inputs: ``"name:0"``.

    Attributes:
        graph_def: the operations, each after those that it needs.
        inputs: placeholder's tensor by input name.
        outputs: tensor by output name.
    """

    graph_def: graph_pb2.GraphDef
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@final
@dataclass
class _Scope:
    """A graph or the body of a function, with the tensors that its arguments stand for."""

    nodes: Mapping[str, node_def_pb2.NodeDef]
    prefix: str
    tensors: dict[str, str] = field(default_factory=dict)  # own reference -> tensor of the flat graph


def flat_graph(meta_graph: Any, signature: str, variables: Mapping[str, np.ndarray]) -> FlatGraph:
    """Flatten a signature.

    Args:
        meta_graph: of the package.
        signature: its name.
        variables: values by the name of the node that stands for the variable.

    Raises:
        ConversionError: it has a loop or a branch of its own.
    """
    return _Flattener(meta_graph, variables).flatten(meta_graph.signature_def[signature])


@final
class _Flattener:
    def __init__(self, meta_graph: Any, variables: Mapping[str, np.ndarray]) -> None:
        library = meta_graph.graph_def.library
        self._functions = {function.signature.name: function for function in library.function}
        self._variables = variables
        self._main = _Scope({node.name: node for node in meta_graph.graph_def.node}, "")
        self._graph_def = graph_pb2.GraphDef(versions=meta_graph.graph_def.versions, library=library)
        self._names: set[str] = set()
        self._blocks: dict[str, list[str]] = {}  # what one block returns, by the loop's name

    def flatten(self, definition: Any) -> FlatGraph:
        inputs = {name: _tensor(info.name) for name, info in definition.inputs.items()}
        outputs = {name: info.name for name, info in definition.outputs.items()}
        self._emit(self._main, outputs.values())
        for reference in inputs.values():  # one that nothing depends on has to be fed all the same
            self._emit(self._main, [reference])
        flat = {name: self._resolved(self._main, reference) for name, reference in outputs.items()}
        self._drop_unused({*inputs.values(), *flat.values()})
        return FlatGraph(self._graph_def, inputs, flat)

    def _drop_unused(self, needed: set[str]) -> None:
        """Drop what only the loop over blocks needed."""
        names, last_first = {_node_of(tensor) for tensor in needed}, []
        for node in reversed(self._graph_def.node):
            if node.name in names:
                names.update(_node_of(entry) for entry in node.input)
                last_first.append(node)
        del self._graph_def.node[:]
        self._graph_def.node.extend(reversed(last_first))

    def _emit(self, scope: _Scope, references: Iterable[str]) -> None:
        """Bring every operation that some tensors of a scope need into the flat graph."""
        todo = [(_node_of(reference), False) for reference in references if reference not in scope.tensors]
        seen: set[str] = set()
        while todo:
            name, ready = todo.pop()
            node = scope.nodes[name]
            if ready:
                self._emit_node(scope, node)
            elif name not in seen:
                seen.add(name)
                todo.append((name, True))
                needed = [*_data_inputs(node), *_loop_inputs(node, scope)]
                todo += [(_node_of(entry), False) for entry in needed if entry not in scope.tensors]

    def _emit_node(self, scope: _Scope, node: Any) -> None:
        if f"{scope.prefix}{node.name}" in self._names:
            return
        self._names.add(f"{scope.prefix}{node.name}")
        if node.op in CALLS:
            self._inline(scope, node, node.attr["f"].func.name, list(_data_inputs(node)))
        elif node.op in BRANCHES and self._is_split(node):
            self._inline(scope, node, node.attr["then_branch"].func.name, list(_data_inputs(node))[1:])
        elif node.op == JOINED and (loop := scope.nodes[_node_of(node.input[0])]).op in LOOPS:
            self._inline_block(scope, node, loop)
        elif node.op in LOOPS and self._is_of_blocks(node):
            return  # its results are those of the block, joined
        elif node.op in CONTROL_FLOW:
            raise ConversionError(f"{node.op} ({CONTROL_FLOW[node.op]})")
        elif node.op in PASSED:
            for index, entry in enumerate(_data_inputs(node)):
                self._bind(scope, node, index, self._resolved(scope, entry))
        else:
            self._copy(scope, node)

    def _copy(self, scope: _Scope, node: Any) -> None:
        name = f"{scope.prefix}{node.name}"
        if node.op == VARIABLE:
            copy = _constant(name, self._variables[node.name])
        else:
            copy = node_def_pb2.NodeDef(name=name, op=node.op)
            copy.input.extend(self._resolved(scope, entry) for entry in _data_inputs(node))
            for key, value in node.attr.items():
                if not key.startswith("_"):
                    copy.attr[key].CopyFrom(value)
        self._graph_def.node.append(copy)
        for index in range(max(sum(count for _, count in _results(node)), 1)):
            self._bind(scope, node, index, f"{name}:{index}")

    def _inline(self, scope: _Scope, node: Any, function: str, arguments: list[str]) -> None:
        resolved = [self._resolved(scope, entry) for entry in arguments]
        for index, tensor in enumerate(self._called(function, resolved, f"{scope.prefix}{node.name}/")):
            self._bind(scope, node, index, tensor)

    def _called(self, function: str, arguments: list[str], prefix: str) -> list[str]:
        """Inline a function, and return the tensors that it returns."""
        definition = self._functions[function]
        names = [argument.name for argument in definition.signature.input_arg]
        inner = _Scope({each.name: each for each in definition.node_def}, prefix)
        inner.tensors.update(zip(names, arguments, strict=True))
        returned = [definition.ret[argument.name] for argument in definition.signature.output_arg]
        self._emit(inner, returned)
        return [self._resolved(inner, reference) for reference in returned]

    def _inline_block(self, scope: _Scope, joined: Any, loop: Any) -> None:
        """Let a joined result be that of the block's function for all rows."""
        body = self._functions[loop.attr["body"].func.name]
        nodes = {node.name: node for node in body.node_def}
        [call] = [node for node in body.node_def if node.op in CALLS]
        whole = dict(zip([argument.name for argument in body.signature.input_arg], _data_inputs(loop), strict=True))
        arguments = []
        for entry in _data_inputs(call):
            sliced = nodes.get(_node_of(entry))
            arguments.append(self._resolved(scope, whole[entry if sliced is None else sliced.input[0]]))
        prefix = f"{scope.prefix}{loop.name}/"
        if prefix not in self._blocks:  # one block yields all of the results
            self._blocks[prefix] = self._called(call.attr["f"].func.name, arguments, prefix)
        results = self._blocks[prefix]
        index = int(joined.input[0].rpartition(":")[2])
        written = nodes[_node_of(body.ret[body.signature.output_arg[index].name])]
        while written.op in PASSED:
            written = nodes[_node_of(written.input[0])]
        self._bind(scope, joined, 0, results[int(written.input[2].rpartition(":")[2])])

    def _is_split(self, node: Any) -> bool:
        """Whether a branch is between a call of one block and the loop over several."""
        then, other = (self._functions[node.attr[key].func.name] for key in ("then_branch", "else_branch"))
        computed = [each.op for each in then.node_def if each.op not in {"Identity", "NoOp"}]
        loops = [each for each in other.node_def if each.op in LOOPS]
        return len(computed) == 1 and computed[0] in CALLS and len(loops) == 1 and self._is_of_blocks(loops[0])

    def _is_of_blocks(self, node: Any) -> bool:
        """Whether a loop slices its blocks out of tensors, calls one function, and stores what it returns."""
        body = self._functions[node.attr["body"].func.name]
        kinds = {each.op for each in body.node_def}
        calls = [each for each in body.node_def if each.op in CALLS]
        return len(calls) == 1 and kinds <= _OF_BLOCKS and "TensorListSetItem" in kinds

    def _bind(self, scope: _Scope, node: Any, index: int, tensor: str) -> None:
        """Let the names that a scope has for an operation's result stand for a tensor."""
        if index == 0:
            scope.tensors[node.name] = tensor
        scope.tensors[f"{node.name}:{index}"] = tensor
        start = 0
        for result, count in _results(node):
            if start <= index < start + count:
                scope.tensors[f"{node.name}:{result}:{index - start}"] = tensor
            start += count

    def _resolved(self, scope: _Scope, reference: str) -> str:
        return scope.tensors[reference]


# What the body of the loop over blocks consists of.
_OF_BLOCKS: Final = CALLS | {
    "AddV2", "Const", "Identity", "Mul", "NoOp", "Pack", "StridedSlice", "TensorListSetItem",
}  # fmt: skip


def _tensor(reference: str) -> str:
    return reference if ":" in reference else f"{reference}:0"


def _node_of(reference: str) -> str:
    return reference.split(":", 1)[0]


def _data_inputs(node: Any) -> Iterable[str]:
    return [entry for entry in node.input if not entry.startswith("^")]


def _loop_inputs(node: Any, scope: _Scope) -> Iterable[str]:
    """What a joined result of blocks needs: the tensors that the loop takes."""
    return _data_inputs(scope.nodes[_node_of(node.input[0])]) if node.op == JOINED else []


def _results(node: Any) -> list[tuple[str, int]]:
    """Return the named results of an operation, with the number of tensors in each."""
    definition: Any = op_def_registry.get(node.op)
    results = []
    for argument in definition.output_arg:
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        else:
            count = 1
        results.append((argument.name, count))
    return results


def _constant(name: str, value: np.ndarray) -> node_def_pb2.NodeDef:
    node = node_def_pb2.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


_SHAPES_OF: Final = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})  # of whatever values
_RANDOM: Final = frozenset({"RandomUniform", "RandomStandardNormal", "StatelessRandomUniformV2", "RandomUniformInt"})
_MOST_RESULTS: Final = 64


def independent_of_data(graph: FlatGraph) -> set[str]:
    """Name the tensors whose values depend on constants and shapes alone."""
    fixed: set[str] = set()
    for node in graph.graph_def.node:
        inputs = [entry if ":" in entry else f"{entry}:0" for entry in node.input]
        if node.op in _SHAPES_OF or (node.op not in {"Placeholder", *_RANDOM} and fixed.issuperset(inputs)):
            fixed.update(f"{node.name}:{index}" for index in range(_MOST_RESULTS))
    return fixed
