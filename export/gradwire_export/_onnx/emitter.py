"""Writes the nodes of an ONNX graph, one after the other, and keeps its constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
import onnx  # pyright: ignore[reportMissingImports] - in the environment of the bridges
from onnx import helper  # pyright: ignore[reportMissingImports] - in the environment of the bridges

from gradwire_export._onnx.batch_sizes import Size

INT64: Final = np.dtype(np.int64)
LAST: Final = 2**62  # an end beyond every axis, as Slice takes it


@final
class Emitter:
    """The nodes of one graph.

    Args:
        rows_of: the input whose first axis is the batch.
    """

    def __init__(self, rows_of: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._rows_of = rows_of
        self._rows = ""
        self._done: dict[bytes, str] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write a node of one output, and return the output's name; the same node is written once."""
        node = helper.make_node(kind, inputs, [""], **attributes)
        key = node.SerializeToString(deterministic=True)
        if key not in self._done:
            self._done[key] = node.output[0] = f"_{len(self.nodes)}"
            self.nodes.append(node)
        return self._done[key]

    def constant(self, value: Any, dtype: np.dtype[Any] = INT64) -> str:
        """Return the name of a constant."""
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f"_c{len(self._names)}"
            self.constants[self._names[key]] = array
        return self._names[key]

    def rows(self) -> str:
        """Return the number of rows, ``(1,)``."""
        self._rows = self._rows or self.add("Shape", self._rows_of, start=0, end=1)
        return self._rows

    def sizes(self, sizes: Sequence[Size]) -> str:
        """Return sizes as a tensor of int64."""
        if not any(size.by_row for size in sizes):
            return self.constant([size.fixed for size in sizes])
        parts = [self._size(size) for size in sizes]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def _size(self, size: Size) -> str:
        if not size.by_row:
            return self.constant([size.fixed])
        total = self.rows() if size.by_row == 1 else self.add("Mul", self.rows(), self.constant([size.by_row]))
        return total if not size.fixed else self.add("Add", total, self.constant([size.fixed]))

    def reshape(self, tensor: str, shape: Sequence[Size]) -> str:
        """Reshape a tensor; the one axis of the rows is what the others leave, and nothing has to be computed."""
        growing = [size for size in shape if size.by_row]
        if len(growing) == 1 and all(size.fixed for size in shape if not size.by_row):
            return self.add("Reshape", tensor, self.constant([-1 if size.by_row else size.fixed for size in shape]))
        array = self.constants.get(tensor)
        if array is not None and not growing:
            return self.constant(array.reshape([size.fixed for size in shape]), array.dtype)
        return self.add("Reshape", tensor, self.sizes(shape), allowzero=1)

    def expand(self, tensor: str, shape: Sequence[Size]) -> str:
        """Broadcast a tensor."""
        return self.add("Expand", tensor, self.sizes(shape))

    def transpose(self, tensor: str, order: Sequence[int]) -> str:
        """Reorder axes; of a constant at once."""
        if list(order) == list(range(len(order))):
            return tensor
        array = self.constants.get(tensor)
        if array is not None:
            return self.constant(array.transpose(order), array.dtype)
        return self.add("Transpose", tensor, perm=list(order))

    def slice(
        self, tensor: str, axes: Sequence[int], starts: Sequence[Size], ends: Sequence[Size], steps: Sequence[int] = ()
    ) -> str:
        """Slice a tensor along some axes."""
        bounds = [self.sizes(starts), self.sizes(ends), self.constant(axes)]
        return self.add("Slice", tensor, *bounds, *([self.constant(steps)] if steps else []))

    def pad(self, tensor: str, before: Sequence[Size], after: Sequence[Size], value: str) -> str:
        """Pad a tensor with a value on both sides of every axis."""
        if not any((*size,) != (0, 0) for size in (*before, *after)):
            return tensor
        return self.add("Pad", tensor, self.sizes([*before, *after]), value)

    def cast(self, tensor: str, dtype: np.dtype[Any]) -> str:
        """Cast a tensor; a constant at once."""
        array = self.constants.get(tensor)
        if array is not None:
            return self.constant(array.astype(dtype), dtype)
        return self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(dtype))


def used(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that some outputs need, in their order."""
    needed, last_first = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            last_first.append(node)
    return last_first[::-1]
