r"""The structure of a function's Jacobian: which elements of an output depend on which elements of an input.

It is read from the graph, and errs to one side: an entry that may be other than zero is never left out. Each element of
a tensor has the set of input elements that it may depend on. Operations on single elements unite the sets
of their arguments, what moves elements moves the sets, sums and products of matrices unite them along what they sum;
any other operation is taken to mix all that it gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from gradwire_export._analysis.operations import BRANCHES, CALLS, CONSTANTS, HELD, LOOPS
from gradwire_export._derivatives import Structure
from gradwire_export._sources import Function, row_shape

# Rows of which the graph is traced, for shapes to be known: with one, an axis of size 1 could be mistaken for theirs.
ROWS: Final = 2
MOST_ENTRIES: Final = 1 << 24  # of a tensor's sets; larger tensors are taken to be mixed

# By element of a tensor, flat, which input elements it may depend on; one row alone holds for every element. None where
# it depends on none.
Sets: TypeAlias = np.ndarray | None

_UNARY: Final = frozenset(
    (
        *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BesselI0e", "BesselI1e", "Cast", "CheckNumerics"),
        *("Cos", "Cosh", "Digamma", "Elu", "Erf", "Erfc", "Erfinv", "Exp", "Expm1", "Identity", "Inv", "LeakyRelu"),
        *("Lgamma", "Log", "Log1p", "Ndtri", "Neg", "PreventGradient", "Reciprocal", "Relu", "Relu6", "Rsqrt", "Selu"),
        *(
            "Sigmoid",
            "Sin",
            "Sinh",
            "Snapshot",
            "Softplus",
            "Softsign",
            "Sqrt",
            "Square",
            "StopGradient",
            "Tan",
            "Tanh",
        ),
        *("Reshape", "ExpandDims", "Squeeze", "EnsureShape"),  # which leave the order of the elements as it is
    )
)
_BROADCAST: Final = frozenset(
    (
        *("Add", "AddN", "AddV2", "Atan2", "BiasAdd", "BroadcastTo", "ClipByValue", "Div", "DivNoNan", "Maximum"),
        *("Minimum", "Mul", "MulNoNan", "Pow", "RealDiv", "Select", "SelectV2", "SquaredDifference", "Sub", "Xdivy"),
        *("Xlog1py", "Xlogy"),
    )
)
_MOVES: Final = frozenset(
    (
        *("ConcatV2", "GatherV2", "GatherNd", "Pack", "Pad", "PadV2", "ReverseV2", "Roll", "Slice", "Split", "SplitV"),
        *("StridedSlice", "Tile", "Transpose", "Unpack", "MatrixDiagPartV3"),
    )
)
_RENAMED: Final = {"split_dim": "axis"}  # arguments that have another name in Python
_REDUCTIONS: Final = frozenset(("Max", "Mean", "Min", "Prod", "Sum", "EuclideanNorm"))
_ALONG_LAST: Final = frozenset(("Softmax", "LogSoftmax"))
_PRODUCTS: Final = frozenset(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"))


def jacobian_structure(function: Function) -> Structure:
    """Return which entries of the derivatives may be other than zero, of the pairs of which some may not.

    Args:
        function: its differentiated inputs count; those of a pair that is not connected are all zero.
    """
    specs = {name: tf.TensorSpec((ROWS, *row_shape(spec)), spec.dtype) for name, spec in function.inputs.items()}

    def positional(*tensors: Any) -> dict[str, Any]:
        return function.call(dict(zip(function.inputs, tensors, strict=True)))

    sizes = {wrt: math.prod(row_shape(function.inputs[wrt])) for wrt in function.wrt}
    if ROWS * max(sizes.values(), default=0) * sum(sizes.values()) > MOST_ENTRIES:
        return {}
    traced = tf.function(positional).get_concrete_function(*specs.values())
    inputs = dict(zip(function.inputs, traced.inputs, strict=False))
    start, begin = dict[str, Sets](), 0
    for wrt, size in sizes.items():
        own = np.zeros((size, sum(sizes.values())), np.bool_)
        own[:, begin : begin + size] = np.eye(size, dtype=np.bool_)
        start[inputs[wrt].name] = np.tile(own, (ROWS, 1))
        begin += size
    sets = _Propagation(traced.graph).through(traced.graph, start)
    structure: dict[tuple[str, str], np.ndarray] = {}
    for output, tensor in traced.structured_outputs.items():
        size = math.prod(row_shape(function.outputs[output]))
        by_row = _full(sets.get(tensor.name), ROWS * size, sum(sizes.values())).reshape(ROWS, size, -1).any(axis=0)
        blocks = np.split(by_row, np.cumsum(list(sizes.values()))[:-1], axis=1)
        structure |= {(output, wrt): block for wrt, block in zip(sizes, blocks, strict=True) if not block.all()}
    return structure


@final
class _Propagation:
    """Sets of input elements on their way through a graph and the functions that it calls."""

    def __init__(self, graph: tf.Graph) -> None:
        self._library = {definition.signature.name: definition for definition in graph.as_graph_def().library.function}

    def through(self, graph: Any, start: Mapping[str, Sets]) -> dict[str, Sets]:
        """Propagate through the operations, which are in the order of creation."""
        sets: dict[str, Sets] = dict(start)
        for operation in graph.get_operations():
            incoming = [sets.get(tensor.name) for tensor in operation.inputs]
            if all(each is None for each in incoming):
                continue
            outgoing = self._after(operation, incoming)
            sets.update((tensor.name, part) for tensor, part in zip(operation.outputs, outgoing, strict=True))
        return sets

    def _after(self, operation: tf.Operation, incoming: list[Sets]) -> list[Sets]:
        if operation.type in CONSTANTS and operation.type not in HELD:
            return [None] * len(operation.outputs)
        if operation.type in CALLS:
            return self._called(operation.get_attr("f").name, operation.inputs, incoming)
        if operation.type in BRANCHES or operation.type in LOOPS:
            return _mixed(operation, incoming)
        outgoing = _through(operation, incoming)
        # No derivative passes through integers.
        return [
            part if tensor.dtype.is_floating or tensor.dtype in (tf.variant, tf.complex64, tf.complex128) else None
            for tensor, part in zip(operation.outputs, outgoing, strict=True)
        ]

    def _called(self, name: str, inputs: Sequence[Any], incoming: list[Sets]) -> list[Sets]:
        definition = function_pb2.FunctionDef()
        definition.CopyFrom(self._library[name])
        for argument in definition.arg_attr.values():  # the shapes that it was traced for, of any number of rows
            argument.attr.pop("_output_shapes", None)
        body = function_def_to_graph(definition, input_shapes=[tensor.shape for tensor in inputs])
        start = {tensor.name: part for tensor, part in zip(body.inputs, incoming, strict=True)}
        sets = self.through(body, start)
        return [sets.get(tensor.name) for tensor in body.outputs]


def _through(operation: tf.Operation, incoming: list[Sets]) -> list[Sets]:
    tensors, rule = [*operation.inputs, *operation.outputs], _RULES.get(operation.type)
    if rule is None or "_gradient_op_type" in operation.node_def.attr:  # whose gradient may be anything
        return _mixed(operation, incoming)
    sized = all(tensor.shape.is_fully_defined() for tensor in tensors)
    if not sized or max(map(_size, tensors)) * _width(incoming) > MOST_ENTRIES:
        return _mixed(operation, incoming)
    return rule(operation, incoming) or _mixed(operation, incoming)


def _mixed(operation: tf.Operation, incoming: Sequence[Sets]) -> list[Sets]:
    """Let every element of every result depend on all that any argument depends on."""
    united = np.logical_or.reduce([part.any(axis=0, keepdims=True) for part in incoming if part is not None])
    return [united] * len(operation.outputs)


def _shape(tensor: Any) -> list[int]:
    return tensor.shape.as_list()


def _size(tensor: Any) -> int:
    return math.prod(_shape(tensor))


def _width(incoming: Sequence[Sets]) -> int:
    return next(part.shape[1] for part in incoming if part is not None)


def _full(part: Sets, size: int, width: int) -> np.ndarray:
    return np.broadcast_to(False if part is None else part, (size, width))


def _passed(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    return [incoming[0]] * len(operation.outputs)


def _broadcast(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    shape = _shape(operation.outputs[0])
    if operation.type == "Select" and len({tuple(tensor.shape) for tensor in operation.inputs}) > 1:
        return None  # its condition is along the first axis
    if operation.type == "BiasAdd" and operation.get_attr("data_format") != b"NHWC":
        return None
    united: Sets = None
    for tensor, part in zip(operation.inputs, incoming, strict=True):
        if part is None:
            continue
        if len(part) > 1:
            numbers = np.arange(_size(tensor)).reshape(_shape(tensor))
            part = part[np.broadcast_to(numbers, shape).reshape(-1)]  # noqa: PLW2901 - the same at other places
        united = part if united is None else united | part
    return [united]


def _move(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    """Run the operation on the numbers of the elements; 0 is an element that depends on nothing."""
    arguments, parts, count, width = [], [np.zeros((1, _width(incoming)), np.bool_)], 1, _width(incoming)
    for tensor, part in zip(operation.inputs, incoming, strict=True):
        shape = _shape(tensor)
        if part is not None:
            arguments.append(tf.constant(np.arange(count, count + _size(tensor)).reshape(shape), tf.int64))
            parts.append(_full(part, _size(tensor), width))
            count += _size(tensor)
        elif tensor.dtype.is_floating:
            arguments.append(tf.zeros(shape, tf.int64))
        else:
            known = tf.get_static_value(tensor)
            if known is None:
                return None
            arguments.append(tf.constant(known, tensor.dtype))
    moved = _run(operation, arguments)
    table = np.vstack(parts)
    return [table[np.reshape(numbers, -1)] for numbers in moved]


def _run(operation: tf.Operation, arguments: Sequence[Any]) -> list[np.ndarray]:
    """Run one operation on integers in the place of floating-point numbers."""
    definition, named, start = operation.op_def, dict[str, Any](), 0
    for argument in definition.input_arg:
        count = operation.get_attr(argument.number_attr) if argument.number_attr else 1
        part = arguments[start : start + count]
        named[_RENAMED.get(argument.name) or argument.name] = part if argument.number_attr else part[0]
        start += count
    inferred = {name for each in definition.input_arg for name in (each.type_attr, each.number_attr)}
    named |= {each.name: operation.get_attr(each.name) for each in definition.attr if each.name not in inferred}
    moved: Any = getattr(tf.raw_ops, operation.type)(**named)
    return [each.numpy() for each in (moved if isinstance(moved, (list, tuple)) else [moved])]


def _reduce(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    axes, part = tf.get_static_value(operation.inputs[1]), incoming[0]
    if axes is None or part is None:
        return None
    if len(part) == 1:
        return [part]
    shape = _shape(operation.inputs[0])
    along = tuple(int(axis) % max(len(shape), 1) for axis in np.atleast_1d(axes))
    return [part.reshape(*shape, -1).any(axis=along).reshape(-1, part.shape[1])]


def _along_last(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    part = incoming[0]
    if part is None or len(part) == 1:
        return [part]
    along = part.reshape(-1, _shape(operation.inputs[0])[-1], part.shape[1]).any(axis=1, keepdims=True)
    return [np.repeat(along, _shape(operation.inputs[0])[-1], axis=1).reshape(part.shape)]


def _product(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    """Unite along what is summed."""
    turned = [_is_turned(operation, side) for side in ("a", "b")]
    weights = tf.get_static_value(operation.inputs[1])
    if incoming[0] is not None and weights is not None and weights.ndim == len(_shape(operation.outputs[0])):
        return _times_constant(operation, incoming[0], turned, weights)
    united = np.zeros((*_shape(operation.outputs[0]), _width(incoming)), np.bool_)
    for side, (tensor, part) in enumerate(zip(operation.inputs, incoming, strict=True)):
        if part is None:
            continue
        by_axis = _full(part, _size(tensor), part.shape[1]).reshape(*_shape(tensor), -1)
        by_axis = by_axis.swapaxes(-3, -2) if turned[side] else by_axis
        united |= by_axis.any(axis=-2 - (side == 1), keepdims=True)
    flat = united.reshape(-1, united.shape[-1])
    return [flat[:1] if (flat == flat[0]).all() else flat]


def _times_constant(
    operation: tf.Operation, part: np.ndarray, turned: Sequence[bool], weights: np.ndarray
) -> list[Sets]:
    """Unite along what is summed, but for weights that are zero."""
    by_axis = _full(part, _size(operation.inputs[0]), part.shape[1]).reshape(*_shape(operation.inputs[0]), -1)
    by_axis = by_axis.swapaxes(-3, -2) if turned[0] else by_axis
    passes = (weights.swapaxes(-2, -1) if turned[1] else weights) != 0
    counts = np.einsum("...pqn,...qr->...prn", by_axis.astype(np.float32), passes.astype(np.float32), optimize=True)
    return [(counts > 0).reshape(-1, part.shape[1])]


def _is_turned(operation: tf.Operation, side: str) -> bool:
    name = f"transpose_{side}" if operation.type == "MatMul" else f"adj_{'x' if side == 'a' else 'y'}"
    return bool(operation.get_attr(name))


def _einsum(operation: tf.Operation, incoming: list[Sets]) -> list[Sets] | None:
    """Unite along the letters that the result does not have."""
    terms, _, result = operation.get_attr("equation").decode().partition("->")
    if "." in terms or any(len(set(term)) < len(term) for term in terms.split(",")):
        return None
    shape = _shape(operation.outputs[0])
    united = np.zeros((*shape, _width(incoming)), np.bool_)
    for term, tensor, part in zip(terms.split(","), operation.inputs, incoming, strict=True):
        if part is None:
            continue
        by_axis = _full(part, _size(tensor), part.shape[1]).reshape(*_shape(tensor), -1)
        by_axis = np.any(by_axis, axis=tuple(i for i, letter in enumerate(term) if letter not in result))
        left = [letter for letter in term if letter in result]
        order = [left.index(letter) for letter in result if letter in left]
        by_axis = by_axis.transpose(*order, len(left))
        united |= by_axis[tuple(slice(None) if letter in left else None for letter in result)]
    return [united.reshape(-1, united.shape[-1])]


_Rule: TypeAlias = Callable[[tf.Operation, list[Sets]], "list[Sets] | None"]
_RULES: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(_UNARY, _passed),
    **dict.fromkeys(_BROADCAST, _broadcast),
    **dict.fromkeys(_MOVES, _move),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_ALONG_LAST, _along_last),
    **dict.fromkeys(_PRODUCTS, _product),
    "Einsum": _einsum,
    "IdentityN": lambda _, incoming: incoming,
}
