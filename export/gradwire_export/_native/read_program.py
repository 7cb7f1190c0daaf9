"""A package's ``value`` graph as a program for one row: dense networks, and what surrounds them.

The rows of a package are independent (export proves it), so each operation is read as what it does to a row. Operations
that only move numbers are not interpreted: they are run on the numbers of the elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from gradwire._errors import ConversionError
from gradwire_export._conversion import PASSED, FlatGraph, independent_of_data
from gradwire_export._native.program import Program

_ROWS: Final = 3  # with which operations that move numbers are tried
_UNARY: Final[Mapping[str, str]] = {
    "Exp": "exp", "Expm1": "expm1", "Log": "log", "Log1p": "log1p", "Tanh": "tanh", "Sigmoid": "sigmoid",
    "Softplus": "softplus", "Relu": "relu", "Elu": "elu", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Reciprocal": "reciprocal",
    "Inv": "reciprocal", "Sin": "sin", "Cos": "cos", "Erf": "erf",
}  # fmt: skip
_BINARY: Final[Mapping[str, str]] = {
    "Add": "add", "AddV2": "add", "BiasAdd": "add", "Sub": "sub", "Mul": "mul", "RealDiv": "div",
}  # fmt: skip
_MOVES: Final = frozenset(
    {
        "ConcatV2", "Reshape", "ExpandDims", "Squeeze", "Pack", "StridedSlice", "Slice", "Transpose", "GatherV2",
        "Tile", "BroadcastTo", "Unpack", "Split", "SplitV", "ReverseV2",
    }
)  # fmt: skip
_LARGEST_POWER: Final = 16
_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805
_MATRIX: Final = 2  # axes


@final
class _Rows:
    """A tensor that has rows: the program's node, and the shape of a row."""

    def __init__(self, node: int, shape: tuple[int, ...]) -> None:
        self.node, self.shape = node, shape


def read_program(graph: FlatGraph) -> tuple[Program, dict[str, int], dict[str, int]]:
    """Read a graph as a program.

    Args:
        graph: of the signature ``value``.

    Returns:
        The program, and the nodes of its inputs and of its outputs, by name.

    Raises:
        ConversionError: it has operations that are not read; each is named.
    """
    return _Reader(graph).read()


class _Refused(Exception):  # noqa: N818 - a reason, which one error collects
    pass


@final
class _Reader:
    def __init__(self, graph: FlatGraph) -> None:
        self._graph = graph
        with tf.Graph().as_default() as imported:
            tf.graph_util.import_graph_def(graph.graph_def, name="")
        self._imported = imported
        self._tensors: dict[str, _Rows | np.ndarray] = {}
        self._fixed = independent_of_data(graph)
        dtypes = {self._imported.get_tensor_by_name(each).dtype.name for each in graph.inputs.values()}
        if dtypes not in ({"float32"}, {"float64"}):
            raise ConversionError(f"its inputs are of {', '.join(sorted(dtypes))}, expected one of float32 and float64")
        self._program = Program(np.dtype(dtypes.pop()))

    def read(self) -> tuple[Program, dict[str, int], dict[str, int]]:
        names = {reference.split(":")[0]: name for name, reference in self._graph.inputs.items()}
        inputs: dict[str, int] = {}
        refused: dict[str, str] = {}
        for node in self._graph.graph_def.node:
            if node.op == "Placeholder":
                name = names[node.name]
                shape = self._row_shape(f"{node.name}:0")
                inputs[name] = self._program.input(name, math.prod(shape))
                self._tensors[f"{node.name}:0"] = _Rows(inputs[name], shape)
            elif node.op == "Const":
                self._tensors[f"{node.name}:0"] = tf.make_ndarray(node.attr["value"].tensor)
            elif not self._is_of_sizes(node):
                try:
                    self._read(node)
                except _Refused as reason:
                    refused.setdefault(node.op, str(reason))
        outputs = {}
        for name, reference in self._graph.outputs.items():
            tensor = self._tensors.get(reference)
            if isinstance(tensor, _Rows):
                outputs[name] = tensor.node
            elif not refused:
                refused[name] = "an output that does not depend on the row"
        if refused:
            raise ConversionError(
                "only dense networks are compiled, and the model has "
                + "; ".join(f"{kind} ({why})" for kind, why in sorted(refused.items()))
            )
        return self._program, inputs, outputs

    def _row_shape(self, reference: str) -> tuple[int, ...]:
        shape = self._imported.get_tensor_by_name(reference).shape
        row = () if not shape.rank else tuple(size for size in shape.as_list()[1:] if size is not None)
        if not shape.rank or len(row) + 1 != shape.rank or shape.as_list()[0] is not None:
            raise _Refused(f"the size of a row is not known: {shape}")
        return row

    def _is_of_sizes(self, node: Any) -> bool:
        """Whether an operation computes shapes and counts only, which the inferred shapes tell already."""
        operation = self._imported.get_operation_by_name(node.name)
        return not any(self._is_number(tensor.name) for tensor in operation.outputs)

    def _is_number(self, reference: str) -> bool:
        return self._imported.get_tensor_by_name(reference).dtype == tf.as_dtype(self._program.dtype)

    def _read(self, node: Any) -> None:
        entries = [entry if ":" in entry else f"{entry}:0" for entry in node.input if not entry.startswith("^")]
        arguments = [self._tensors.get(entry) for entry in entries]
        if any(argument is None and self._is_number(entry) for argument, entry in zip(arguments, entries, strict=True)):
            return  # behind one that was refused
        if not any(isinstance(argument, _Rows) for argument in arguments):
            self._fold(node, arguments)
        elif node.op in PASSED:
            self._tensors.update(
                (f"{node.name}:{index}", each) for index, each in enumerate(arguments) if each is not None
            )
        elif node.op in _MOVES:
            self._move(node, entries)
        else:
            self._tensors[f"{node.name}:0"] = self._converted(node, arguments)

    def _converted(self, node: Any, arguments: list[Any]) -> _Rows:
        program = self._program
        if node.op in _UNARY:
            return _Rows(program.unary(_UNARY[node.op], arguments[0].node), arguments[0].shape)
        if node.attr["data_format"].s == b"NCHW":
            raise _Refused("channels come first")
        if node.op in _BINARY:
            return self._elementwise(_BINARY[node.op], *arguments)
        if node.op in _OTHERS:
            return _OTHERS[node.op](self, node, *arguments)
        raise _Refused("no native form of it is written")

    def _elementwise(self, kind: str, a: _Rows | np.ndarray, b: _Rows | np.ndarray) -> _Rows:
        """Read an operation on each element, with NumPy's broadcasting; a bias is along the last axis anyway."""
        shapes = [(1, *each.shape) if isinstance(each, _Rows) else each.shape for each in (a, b)]
        shape = np.broadcast_shapes(*shapes)
        if len(shape) > max(len(each.shape) + 1 for each in (a, b) if isinstance(each, _Rows)) or shape[0] != 1:
            raise _Refused("it mixes rows")
        nodes = [self._broadcast(each, shape) for each in (a, b)]
        return _Rows(getattr(self._program, kind)(*nodes), shape[1:])

    def _broadcast(self, tensor: _Rows | np.ndarray, shape: tuple[int, ...]) -> int:
        if not isinstance(tensor, _Rows):
            return self._program.constant(np.broadcast_to(tensor, shape))
        if len(tensor.shape) + 1 != len(shape):
            raise _Refused("it mixes rows")
        numbers = np.arange(math.prod(tensor.shape)).reshape(1, *tensor.shape)
        return self._program.gather([tensor.node], [(0, int(i)) for i in np.broadcast_to(numbers, shape).reshape(-1)])

    def _product(self, node: Any, a: Any, b: Any) -> _Rows:
        if not isinstance(a, _Rows) or isinstance(b, _Rows):
            raise _Refused("a product of two functions of the inputs")
        if node.attr["transpose_a"].b or node.attr["adj_x"].b or b.ndim != _MATRIX or not a.shape:
            raise _Refused("it mixes rows")
        weights = b.T if node.attr["transpose_b"].b or node.attr["adj_y"].b else b
        groups = math.prod(a.shape[:-1])
        return _Rows(
            self._program.linear(a.node, np.kron(np.eye(groups), weights) if groups > 1 else weights),
            (*a.shape[:-1], weights.shape[1]),
        )

    def _sum(self, node: Any, x: Any, axes: Any) -> _Rows:
        if not isinstance(x, _Rows):
            raise _Refused("it does not depend on the row")
        along = tuple(int(axis) % (len(x.shape) + 1) for axis in np.atleast_1d(axes))
        if 0 in along:
            raise _Refused("it mixes rows")
        width, keepdims = math.prod(x.shape), bool(node.attr["keep_dims"].b)
        reduce = np.mean if node.op == "Mean" else np.sum
        units = np.eye(width).reshape(width, *x.shape)
        reduced = np.asarray(reduce(units, axis=along, keepdims=keepdims))
        return _Rows(self._program.linear(x.node, reduced.reshape(width, -1)), reduced.shape[1:])

    def _square(self, node: Any, x: Any) -> _Rows:
        del node
        return _Rows(self._program.mul(x.node, x.node), x.shape)

    def _negative(self, node: Any, x: Any) -> _Rows:
        del node
        return _Rows(self._program.scaled(x.node, -1.0), x.shape)

    def _squared_difference(self, node: Any, a: Any, b: Any) -> _Rows:
        return self._square(node, self._elementwise("sub", a, b))

    def _leaky_relu(self, node: Any, x: Any) -> _Rows:
        return _Rows(self._program.unary("leaky_relu", x.node, float(node.attr["alpha"].f)), x.shape)

    def _power(self, node: Any, x: Any, exponent: Any) -> _Rows:
        del node
        if isinstance(exponent, _Rows) or not isinstance(x, _Rows) or exponent.size != 1:
            raise _Refused("the exponent is no number")
        power = float(exponent.reshape(-1)[0])
        if not power.is_integer() or not 1 <= power <= _LARGEST_POWER:
            raise _Refused(f"the exponent is {power:g}, and those from 1 to {_LARGEST_POWER} are read")
        result = x.node
        for _ in range(int(power) - 1):
            result = self._program.mul(result, x.node)
        return _Rows(result, x.shape)

    def _selu(self, node: Any, x: Any) -> _Rows:
        """Read scale (relu + alpha (elu - relu)), which is exact on both sides (Klambauer et al., 2017)."""
        del node
        program, relu = self._program, self._program.unary("relu", x.node)
        below = program.scaled(program.sub(program.unary("elu", x.node), relu), _SELU_ALPHA)
        return _Rows(program.scaled(program.add(relu, below), _SELU_SCALE), x.shape)

    def _add_all(self, node: Any, *terms: Any) -> _Rows:
        del node
        total = terms[0]
        for term in terms[1:]:
            total = self._elementwise("add", total, term)
        return total

    def _fold(self, node: Any, arguments: list[Any]) -> None:
        """Compute what follows from constants."""
        if any(each is None for each in arguments):
            raise _Refused("it depends on the number of rows")
        for index, result in enumerate(_computed(node, arguments)):
            self._tensors[f"{node.name}:{index}"] = result

    def _move(self, node: Any, entries: list[str]) -> None:
        """Read an operation that moves numbers, by running it on numbers that tell the elements apart."""
        sources = [each for each in map(self._tensors.get, entries) if isinstance(each, _Rows)]
        where = [(index, element) for index, each in enumerate(sources) for element in range(math.prod(each.shape))]
        arrays, start = [], 0
        for entry in entries:
            tensor = self._tensors.get(entry)
            if isinstance(tensor, _Rows):
                # An element's number is its place among all that a row has, and the row's, times their count.
                width = math.prod(tensor.shape)
                own = np.arange(start, start + width) + len(where) * np.arange(_ROWS)[:, None]
                arrays.append(own.reshape(_ROWS, *tensor.shape))
                start += width
            elif self._is_number(entry):
                raise _Refused("it puts constants between numbers of the row")
            else:
                arrays.append(self._at_rows(entry) if tensor is None else tensor)
        integers = node_def_pb2.NodeDef()
        integers.CopyFrom(node)
        for value in integers.attr.values():
            if value.type == tf.as_dtype(self._program.dtype).as_datatype_enum:
                value.type = tf.int64.as_datatype_enum
        for index, moved in enumerate(_computed(integers, arrays)):
            shape = moved.shape[1:]
            rows = np.arange(_ROWS).reshape(-1, *[1] * len(shape))
            if len(moved) != _ROWS or (moved // len(where) != rows).any():
                raise _Refused("it mixes rows")
            taken = [where[int(each)] for each in moved[0].reshape(-1)]
            self._tensors[f"{node.name}:{index}"] = _Rows(
                self._program.gather([each.node for each in sources], taken), shape
            )

    def _at_rows(self, reference: str) -> np.ndarray:
        """Compute a tensor of sizes or axes, for ``_ROWS`` rows."""
        if reference not in self._fixed:
            raise _Refused("which elements it takes depends on their values")
        feed = {
            placeholder: np.zeros((_ROWS, *self._row_shape(placeholder)), self._program.dtype)
            for placeholder in self._graph.inputs.values()
        }
        with tf.compat.v1.Session(graph=self._imported) as session:
            return np.asarray(session.run(reference, feed))


def _computed(node: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Run one operation on arrays."""
    alone = node_def_pb2.NodeDef(name="alone", op=node.op)
    for key, value in node.attr.items():
        if not key.startswith("_"):
            alone.attr[key].CopyFrom(value)
    with tf.Graph().as_default() as graph:
        for position, array in enumerate(arrays):
            tf.constant(array, name=f"argument_{position}")
            alone.input.append(f"argument_{position}")
    definition = graph.as_graph_def()
    definition.node.append(alone)
    with tf.Graph().as_default() as whole, tf.compat.v1.Session(graph=whole) as session:
        tf.graph_util.import_graph_def(definition, name="")
        return [np.asarray(each) for each in session.run(whole.get_operation_by_name("alone").outputs)]


_OTHERS: Final[Mapping[str, Callable[..., _Rows]]] = {
    "MatMul": _Reader._product,  # noqa: SLF001 - a table of this class's own
    "BatchMatMulV2": _Reader._product,  # noqa: SLF001
    "Sum": _Reader._sum,  # noqa: SLF001
    "Mean": _Reader._sum,  # noqa: SLF001
    "Square": _Reader._square,  # noqa: SLF001
    "Neg": _Reader._negative,  # noqa: SLF001
    "SquaredDifference": _Reader._squared_difference,  # noqa: SLF001
    "LeakyRelu": _Reader._leaky_relu,  # noqa: SLF001
    "Pow": _Reader._power,  # noqa: SLF001
    "Selu": _Reader._selu,  # noqa: SLF001
    "AddN": _Reader._add_all,  # noqa: SLF001
}
