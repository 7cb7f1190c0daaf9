"""Operations that move elements: reshaping, slicing, joining, padding, gathering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from gradwire_export._onnx.batch_sizes import Size
from gradwire_export._onnx.emitter import INT64, LAST
from gradwire_export._onnx.operation import Convert, Operation, Unsupported

ZERO: Final = Size(0)


def _reshape(op: Operation) -> str:
    return op.emit.reshape(op.x(0), op.result())


def _transpose(op: Operation) -> str:
    return op.emit.transpose(op.x(0), op.integers(1))


def _pack(op: Operation) -> str:
    axis = op.attribute("axis") % len(op.result())
    row = [size for place, size in enumerate(op.result()) if place != axis]
    apart = [*row[:axis], Size(1), *row[axis:]]
    return op.emit.add("Concat", *(op.emit.reshape(tensor, apart) for tensor in op.all), axis=axis)


def _unpack(op: Operation) -> Sequence[str]:
    axis = op.attribute("axis") % op.rank()
    slices = (op.emit.slice(op.x(0), [axis], [Size(place)], [Size(place + 1)]) for place in range(op.attribute("num")))
    return [op.emit.reshape(part, op.result(place)) for place, part in enumerate(slices)]


def _concat(op: Operation) -> str:
    [axis] = op.integers(len(op.inputs) - 1)
    return op.emit.add("Concat", *op.all[:-1], axis=axis % op.rank())


def _split(op: Operation) -> Sequence[str]:
    [axis] = op.integers(0)
    axis %= op.rank(1)
    return _split_at(op, 1, axis, [op.result(place)[axis] for place in range(op.attribute("num_split"))])


def _split_v(op: Operation) -> Sequence[str]:
    [axis] = op.integers(2)
    axis %= op.rank()
    return _split_at(op, 0, axis, [op.result(place)[axis] for place in range(op.attribute("num_split"))])


def _split_at(op: Operation, source: int, axis: int, sizes: Sequence[Size]) -> Sequence[str]:
    start, parts = ZERO, []
    for size in sizes:
        end = _plus(start, size)
        parts.append(op.emit.slice(op.x(source), [axis], [start], [end]))
        start = end
    return parts


def _plus(one: Size, other: Size) -> Size:
    return Size(one.fixed + other.fixed, one.by_row + other.by_row)


def _minus(one: Size, other: Size) -> Size:
    return Size(one.fixed - other.fixed, one.by_row - other.by_row)


def _slice(op: Operation) -> str:
    starts = op.sizes(1)
    ends = [_plus(start, size) for start, size in zip(starts, op.result(), strict=True)]
    return op.emit.slice(op.x(0), range(op.rank()), starts, ends)


class _Cut:
    """A strided slice, axis by axis: where it starts and ends, and the axes that it drops or adds."""

    def __init__(self, op: Operation, shape: Sequence[Size], first: int) -> None:
        """Read the slice of a tensor of some shape; its bounds are the inputs from ``first`` on."""
        begins, ends, steps = op.sizes(first), op.sizes(first + 1), op.integers(first + 2)
        masks = {name: op.attribute(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
        marked = {name: [bool(mask >> place & 1) for place in range(len(steps))] for name, mask in masks.items()}
        taken = sum(not (new or dots) for new, dots in zip(marked["new_axis"], marked["ellipsis"], strict=True))
        self.starts: list[Size] = []
        self.ends: list[Size] = []
        self.steps: list[int] = []
        self.has_axis: list[bool] = []  # of the axes sliced, those that the result has
        for place, step in enumerate(steps):
            axis = len(self.starts)
            if marked["ellipsis"][place]:
                for whole in shape[axis : axis + len(shape) - taken]:
                    self._take(ZERO, whole, 1)
            elif not marked["new_axis"][place]:
                size, shrinks = shape[axis], marked["shrink_axis"][place]
                whole = (ZERO, size) if step > 0 else (_plus(size, Size(-1)), Size(-1))
                start = whole[0] if marked["begin"][place] and not shrinks else _counted(begins[place], size)
                end = (
                    _plus(start, Size(1))
                    if shrinks
                    else whole[1]
                    if marked["end"][place]
                    else _counted(ends[place], size)
                )
                self._take(start, _at_most(end, size), step, has_axis=not shrinks)
        for whole in shape[len(self.starts) :]:
            self._take(ZERO, whole, 1)

    def _take(self, start: Size, end: Size, step: int, *, has_axis: bool = True) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self.steps.append(step)
        self.has_axis.append(has_axis)


def _counted(place: Size, size: Size) -> Size:
    """Count a place on an axis from the front."""
    return _plus(size, place) if not place.by_row and place.fixed < 0 else place


def _at_most(end: Size, size: Size) -> Size:
    return size if not end.by_row and not size.by_row and end.fixed > size.fixed else end


def _strided_slice(op: Operation) -> str:
    cut = _Cut(op, op.shape(0), 1)
    # A Slice going back to the front ends before it, which no number from the front says.
    ends = [Size(-LAST) if end == Size(-1) else end for end in cut.ends]
    sliced = op.emit.slice(op.x(0), range(len(ends)), cut.starts, ends, cut.steps)
    return op.emit.reshape(sliced, op.result())


def _strided_slice_grad(op: Operation) -> str:
    shape = op.sizes(0)
    cut = _Cut(op, shape, 1)
    bounds = list(zip(cut.starts, cut.ends, cut.steps, strict=True))
    sizes = [_minus(end, start) if step == 1 else Size(len(_places(start, end, step))) for start, end, step in bounds]
    part, before, after = op.emit.reshape(op.x(4), sizes), [], []
    for axis, (start, end, step) in enumerate(bounds):
        first, last = start, end
        if step != 1:
            part = _apart(op, part, sizes, axis, step)
            places = _places(start, end, step)
            first = Size(min(places, default=0))
            sizes[axis] = Size(len(places) * abs(step))
            last = _plus(first, sizes[axis])
        before.append(first)
        after.append(_minus(shape[axis], last))  # below 0 where the last step leads beyond the end
    return op.emit.pad(part, before, after, op.number(0, 4))


def _places(start: Size, end: Size, step: int) -> range:
    if start.by_row or end.by_row:
        raise Unsupported("its slice takes rows in steps")
    return range(start.fixed, end.fixed, step)


def _apart(op: Operation, part: str, sizes: Sequence[Size], axis: int, step: int) -> str:
    """Put zeros between the elements along an axis, which a negative step has turned round."""
    if step < 0:
        part = op.emit.slice(part, [axis], [Size(-1)], [Size(-LAST)], [-1])
    lone = op.emit.reshape(part, [*sizes[: axis + 1], Size(1), *sizes[axis + 1 :]])
    after = [Size(abs(step) - 1 if place == axis + 1 else 0) for place in range(len(sizes) + 1)]
    wide = op.emit.pad(lone, [ZERO] * len(after), after, op.number(0, 4))
    return op.emit.reshape(wide, [*sizes[:axis], Size(sizes[axis].fixed * abs(step)), *sizes[axis + 1 :]])


def _pad(op: Operation) -> str:
    sizes = op.sizes(1)
    value = op.x(2) if op.kind == "PadV2" else op.number(0)
    return op.emit.pad(op.x(0), sizes[::2], sizes[1::2], value)


def _tile(op: Operation) -> str:
    return op.emit.add("Tile", op.x(0), op.emit.sizes(op.sizes(1)))


def _broadcast_to(op: Operation) -> str:
    return op.emit.expand(op.x(0), op.result())


def _fill(op: Operation) -> str:
    return op.emit.expand(op.x(1), op.result())


def _filled(value: int) -> Convert:
    return lambda op: op.emit.expand(op.number(value), op.result())


def _gather(op: Operation) -> str:
    if op.kind == "GatherV2" and op.attribute("batch_dims"):
        raise Unsupported("gathers within each row (batch_dims)")
    axis = op.integers(2)[0] if len(op.inputs) > 2 else 0  # noqa: PLR2004 - Gather and ResourceGather have no axis
    return op.emit.add("Gather", op.x(0), op.x(1), axis=axis % op.rank())


def _gather_nd(op: Operation) -> str:
    return op.emit.add("GatherND", op.x(0), op.emit.cast(op.x(1), INT64))


def _scatter_nd(op: Operation) -> str:
    zeros = op.emit.expand(op.number(0, 1), op.result())
    return op.emit.add("ScatterND", zeros, op.emit.cast(op.x(0), INT64), op.x(1), reduction="add")


def _scattered(**options: str) -> Convert:
    return lambda op: op.emit.add("ScatterND", op.x(0), op.emit.cast(op.x(1), INT64), op.x(2), **options)


def _segment_sum(op: Operation) -> str:
    if (op.array(1) < 0).any():
        raise Unsupported("drops rows (negative segments)")
    indices = op.emit.constant(op.array(1).astype(np.int64)[..., None])
    zeros = op.emit.expand(op.number(0), op.result())
    return op.emit.add("ScatterND", zeros, indices, op.x(0), reduction="add")


def _one_hot(op: Operation) -> str:
    if op.attribute("axis") not in {-1, op.rank()}:
        raise Unsupported("its classes are not on the last axis")
    [depth] = op.integers(1)
    classes = op.emit.constant(np.arange(depth), op.dtype(0))
    indices = op.emit.reshape(op.x(0), [*op.shape(0), Size(1)])
    return op.emit.add("Where", op.emit.add("Equal", indices, classes), op.x(2), op.x(3))


def _reverse(op: Operation) -> str:
    axes = op.axes(1)
    count = len(axes)
    return op.emit.slice(op.x(0), axes, [Size(-1)] * count, [Size(-LAST)] * count, [-1] * count)


def _fixed(op: Operation, places: int) -> list[int]:
    """Return the sizes of the last axes of the first input."""
    sizes = op.shape(0)[-places:]
    if any(size.by_row for size in sizes):
        raise Unsupported("its last axes grow with the rows")
    return [size.fixed for size in sizes]


def _diag(op: Operation) -> str:
    if op.integers(1) != [0]:
        raise Unsupported("has diagonals beside the main one")
    [size] = _fixed(op, 1)
    square = op.emit.add("Mul", op.emit.reshape(op.x(0), [*op.shape(0), Size(1)]), op.number(1))
    is_diagonal = op.emit.constant(np.eye(size), np.dtype(np.bool_))
    return op.emit.add("Where", is_diagonal, square, op.number(0))


def _diag_part(op: Operation) -> str:
    rows, columns = _fixed(op, 2)
    if op.integers(1) != [0]:
        raise Unsupported("has diagonals beside the main one")
    flat = op.emit.reshape(op.x(0), [*op.shape(0)[:-2], Size(rows * columns)])
    places = op.emit.constant(np.arange(min(rows, columns)) * (columns + 1))
    return op.emit.add("Gather", flat, places, axis=op.rank() - 2)


def _band_part(op: Operation) -> str:
    [[below], [above]] = op.integers(1), op.integers(2)
    rows, columns = _fixed(op, 2)
    distance = np.arange(columns) - np.arange(rows)[:, None]
    inside = ((below < 0) | (-distance <= below)) & ((above < 0) | (distance <= above))
    return op.emit.add("Where", op.emit.constant(inside, np.dtype(np.bool_)), op.x(0), op.number(0))


OPERATIONS: Final[Mapping[str, Convert]] = {
    "BroadcastTo": _broadcast_to,
    "ConcatV2": _concat,
    "ExpandDims": _reshape,
    "Fill": _fill,
    "Gather": _gather,
    "GatherNd": _gather_nd,
    "GatherV2": _gather,
    "MatrixBandPart": _band_part,
    "MatrixDiagPartV3": _diag_part,
    "MatrixDiagV3": _diag,
    "OneHot": _one_hot,
    "OnesLike": _filled(1),
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad,
    "Reshape": _reshape,
    "ResourceGather": _gather,
    "ReverseV2": _reverse,
    "ScatterNd": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "SplitV": _split_v,
    "Squeeze": _reshape,
    "StridedSlice": _strided_slice,
    "StridedSliceGrad": _strided_slice_grad,
    "TensorScatterAdd": _scattered(reduction="add"),
    "TensorScatterUpdate": _scattered(),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unpack": _unpack,
    "UnsortedSegmentSum": _segment_sum,
    "ZerosLike": _filled(0),
}
