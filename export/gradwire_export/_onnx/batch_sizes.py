"""What does not depend on the data: constants, and shapes as functions of the number of rows.

ONNX has no operation for much of the arithmetic of shapes that TensorFlow's gradients are full of, and needs none: in
graphs whose rows are independent every shape is a fixed number of elements and a fixed number for each row. Both are
read off runs at three numbers of rows, two to find them and one to confirm, so that no rule for the shapes of some
hundred operations has to be written, or believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, final

import numpy as np
import tensorflow as tf

from gradwire_export._conversion import FlatGraph, independent_of_data

ROWS: Final = (11, 13, 17)  # primes, so that no size of the model is a multiple of them by chance, or few
OPAQUE: Final = (tf.variant, tf.resource)
Draw = Callable[[int], Mapping[str, np.ndarray]]  # a signature's inputs, of a number of rows


class Size(NamedTuple):
    """A number that grows with the rows: ``fixed + by_row * rows``."""

    fixed: int
    by_row: int = 0

    def __str__(self) -> str:
        return str(self.fixed) if not self.by_row else f"{self.fixed} + {self.by_row} rows"


@final
@dataclass(frozen=True)
class Static:
    """What is known of a tensor beforehand.

    Attributes:
        dtype: of its elements.
        shape: None where it depends on the data.
        array: its value, where that is always the same.
        sizes: its elements, flat, where they are integers that depend on the rows alone.
        pattern: an array and the axis along which the rows repeat it, where the tensor depends on the rows alone.
    """

    dtype: np.dtype[Any]
    shape: tuple[Size, ...] | None = None
    array: np.ndarray | None = None
    sizes: tuple[Size, ...] | None = None
    pattern: tuple[np.ndarray, int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether its value follows from the number of rows."""
        return self.array is not None or self.sizes is not None or self.pattern is not None


def statics_of(graph: FlatGraph, draw: Draw) -> dict[str, Static]:
    """Return what is known of each tensor of a graph, by name; tensors that are no arrays are left out."""
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph.graph_def, name="")
        names = [
            tensor.name
            for operation in imported.get_operations()
            for tensor in operation.outputs
            if tensor.dtype not in OPAQUE
        ]
        by_rows = _values(imported, graph, names, draw)
    fixed = independent_of_data(graph)
    return {
        name: _static([values[index] for values in by_rows], free=name in fixed) for index, name in enumerate(names)
    }


def _values(imported: Any, graph: FlatGraph, names: list[str], draw: Draw) -> list[list[np.ndarray]]:
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # it would spend longer than three small runs
    with tf.compat.v1.Session(graph=imported, config=config) as session:
        runs = []
        for rows in ROWS:
            feed = {graph.inputs[name]: array for name, array in draw(rows).items()}
            runs.append([np.asarray(value) for value in session.run(names, feed)])
    return runs


def _static(values: list[np.ndarray], *, free: bool) -> Static:
    dtype = values[0].dtype
    shape = _fitted([np.array(value.shape) for value in values]) if len({v.ndim for v in values}) == 1 else None
    if not free or shape is None:
        return Static(dtype, shape)
    if all(np.array_equal(value, values[0]) for value in values):  # NaN is nobody's constant
        return Static(dtype, shape, array=values[0])
    if dtype.kind in "iu" and len({value.shape for value in values}) == 1:
        sizes = _fitted([value.reshape(-1) for value in values])
        return Static(dtype, shape, sizes=sizes)
    return Static(dtype, shape, pattern=_pattern(values, shape))


def _fitted(values: list[np.ndarray]) -> tuple[Size, ...] | None:
    """Return flat integers as sizes; None where they are no linear functions of the rows."""
    first, second, third = (value.astype(np.int64) for value in values)
    by_row, rest = np.divmod(second - first, ROWS[1] - ROWS[0])
    fixed = first - by_row * ROWS[0]
    if rest.any() or (fixed + by_row * ROWS[2] != third).any():
        return None
    return tuple(Size(int(a), int(b)) for a, b in zip(fixed, by_row, strict=True))


def _pattern(values: list[np.ndarray], shape: tuple[Size, ...]) -> tuple[np.ndarray, int] | None:
    """Find the array of which a tensor consists, each of its slices along one axis repeated for every row."""
    axes = [axis for axis, size in enumerate(shape) if size.by_row]
    if len(axes) != 1 or shape[axes[0]].fixed:
        return None
    axis, repeated = axes[0], []
    for rows, value in zip(ROWS, values, strict=True):
        split = value.reshape(*value.shape[:axis], shape[axis].by_row, rows, *value.shape[axis + 1 :])
        first = split.take([0], axis=axis + 1)
        if not (split == first).all():
            return None
        repeated.append(first.squeeze(axis + 1))
    return (repeated[0], axis) if all(np.array_equal(each, repeated[0]) for each in repeated) else None
