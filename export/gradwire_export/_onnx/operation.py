"""An operation of TensorFlow that is being written as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
import tensorflow as tf

from gradwire_export._onnx.batch_sizes import Size, Static
from gradwire_export._onnx.emitter import Emitter

BOOL: Final = np.dtype(np.bool_)


class Unsupported(Exception):  # noqa: N818 - it never leaves this folder
    """An operation cannot be written; the text says why."""


@final
class Operation:
    """A node of a flat graph, and what is known of its tensors.

    Attributes:
        kind: TensorFlow's name of the operation.
        inputs: the tensors that it takes, ``"name:0"``.
        emit: where its nodes go.
    """

    def __init__(self, node: Any, statics: Mapping[str, Static], names: Mapping[str, str], emit: Emitter) -> None:
        self.kind: str = node.op
        self.inputs: list[str] = [entry if ":" in entry else f"{entry}:0" for entry in node.input]
        self.emit = emit
        self._node = node
        self._statics = statics
        self._names = names

    def attribute(self, name: str) -> Any:
        """Return an attribute as Python's or NumPy's value."""
        value = self._node.attr[name]
        field = value.WhichOneof("value")
        if field is None:
            raise Unsupported(f"has no attribute {name!r}")
        if field == "type":
            return np.dtype(tf.as_dtype(value.type).as_numpy_dtype)
        if field == "list":
            return list(value.list.i)
        return value.s.decode() if field == "s" else getattr(value, field)

    def x(self, index: int) -> str:
        """Return the ONNX name of an input."""
        return named(self.inputs[index], self._statics, self._names, self.emit)

    @property
    def all(self) -> list[str]:
        """The ONNX names of all inputs."""
        return [self.x(index) for index in range(len(self.inputs))]

    def dtype(self, index: int) -> np.dtype[Any]:
        """Return the dtype of an input."""
        return self._statics[self.inputs[index]].dtype

    def shape(self, index: int) -> tuple[Size, ...]:
        """Return the shape of an input."""
        return self._shape(self.inputs[index], f"its input {index}")

    def result(self, index: int = 0) -> tuple[Size, ...]:
        """Return the shape of a result."""
        return self._shape(f"{self._node.name}:{index}", "its result")

    def _shape(self, tensor: str, what: str) -> tuple[Size, ...]:
        shape = self._statics[tensor].shape
        if shape is None:
            raise Unsupported(f"the shape of {what} depends on the data")
        return shape

    def rank(self, index: int = 0) -> int:
        """Return the number of axes of an input."""
        return len(self.shape(index))

    def sizes(self, index: int) -> list[Size]:
        """Return an input of integers, which may grow with the rows."""
        static = self._statics[self.inputs[index]]
        if static.array is not None:
            return [Size(int(number)) for number in static.array.reshape(-1)]
        if static.sizes is None:
            raise Unsupported(f"its input {index} depends on the data")
        return list(static.sizes)

    def integers(self, index: int) -> list[int]:
        """Return an input of integers, always the same."""
        sizes = self.sizes(index)
        if any(size.by_row for size in sizes):
            raise Unsupported(f"its input {index} grows with the rows")
        return [size.fixed for size in sizes]

    def axes(self, index: int) -> list[int]:
        """Return an input of axes, counted from the front."""
        rank = self.rank(0)
        return sorted({axis % rank for axis in self.integers(index)}) if rank else []

    def array(self, index: int) -> np.ndarray:
        """Return a constant input."""
        array = self._statics[self.inputs[index]].array
        if array is None:
            raise Unsupported(f"its input {index} is no constant")
        return array

    def number(self, value: float, index: int = 0) -> str:
        """Return a constant of the dtype of an input."""
        return self.emit.constant(value, self.dtype(index))


Convert: TypeAlias = Callable[[Operation], "str | Sequence[str]"]


def named(tensor: str, statics: Mapping[str, Static], names: Mapping[str, str], emit: Emitter) -> str:
    """Return the ONNX name of a tensor of TensorFlow; what follows from the number of rows alone is made from that."""
    static = statics[tensor]
    if static.array is not None:
        return emit.constant(static.array, static.dtype)
    if static.sizes is not None and static.shape is not None:
        return emit.cast(emit.reshape(emit.sizes(static.sizes), static.shape), static.dtype)
    if static.pattern is not None and static.shape is not None:
        return _repeated(*static.pattern, static.shape, emit)
    return names[tensor]


def _repeated(array: np.ndarray, axis: int, shape: Sequence[Size], emit: Emitter) -> str:
    """Write an array with each of its slices along an axis repeated for every row."""
    if (array == array.flat[0]).all():
        return emit.expand(emit.constant(array.flat[0], array.dtype), shape)
    apart = np.expand_dims(array, axis + 1)
    sizes = [Size(size) for size in apart.shape]
    sizes[axis + 1] = Size(0, 1)
    return emit.reshape(emit.expand(emit.constant(apart, array.dtype), sizes), shape)
