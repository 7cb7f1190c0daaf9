"""Operations that sum: products of matrices, reductions, softmax, convolutions, pooling."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from string import ascii_letters
from typing import Final

import numpy as np

from gradwire_export._onnx.batch_sizes import Size
from gradwire_export._onnx.emitter import INT64
from gradwire_export._onnx.operation import BOOL, Convert, Operation, Unsupported

MOST_FACTORS: Final = 64  # of a cumulated product; each is nodes of its own


def _product(*flags: str) -> Convert:
    """A product of matrices, either of which may have to be transposed first."""

    def convert(op: Operation) -> str:
        factors = []
        for index, flag in enumerate(flags):
            *outer, one, other = range(op.rank(index))
            factors.append(op.emit.transpose(op.x(index), [*outer, other, one]) if op.attribute(flag) else op.x(index))
        return op.emit.add("MatMul", *factors)

    return convert


def _einsum(op: Operation) -> str:
    """Sums of products as one MatMul: onnxruntime's own Einsum divides by zero, and dies, where there are no rows."""
    labels, result = _labels(op)
    sizes = {
        label: size for index, each in enumerate(labels) for label, size in zip(each, op.shape(index), strict=True)
    }
    operands = []
    for index, each in enumerate(labels):
        elsewhere = "".join([*labels[:index], *labels[index + 1 :], result])
        alone = [place for place, label in enumerate(each) if label not in elsewhere]
        summed = op.emit.add("ReduceSum", op.x(index), op.emit.constant(alone), keepdims=0) if alone else op.x(index)
        operands.append((summed, "".join(label for label in each if label in elsewhere)))
    if len(operands) == 1:
        [(whole, order)] = operands
        return op.emit.transpose(whole, [order.index(label) for label in result])
    (left, of_left), (right, of_right) = operands
    batch = [label for label in of_left if label in of_right and label in result]
    inner = [label for label in of_left if label in of_right and label not in result]
    rows, columns = ([label for label in each if label not in [*batch, *inner]] for each in (of_left, of_right))

    def matrices(tensor: str, order: str, one: list[str], other: list[str]) -> str:
        moved = op.emit.transpose(tensor, [order.index(label) for label in (*batch, *one, *other)])
        joined = [_joined_size([sizes[label] for label in group]) for group in (one, other)]
        return op.emit.reshape(moved, [*(sizes[label] for label in batch), *joined])

    product = op.emit.add("MatMul", matrices(left, of_left, rows, inner), matrices(right, of_right, inner, columns))
    order = [*batch, *rows, *columns]
    apart = op.emit.reshape(product, [sizes[label] for label in order])
    return op.emit.transpose(apart, [order.index(label) for label in result])


def _labels(op: Operation) -> tuple[list[str], str]:
    """Return the labels of each operand's axes and of the result's, ``...`` written out."""
    equation = op.attribute("equation").replace(" ", "")
    free = [letter for letter in ascii_letters if letter not in equation]
    left, _, result = equation.partition("->")
    labels = left.split(",")
    dots = [op.rank(index) - len(each) + 3 for index, each in enumerate(labels) if "..." in each]
    names = "".join(free[: max(dots, default=0)])
    for index, each in enumerate(labels):
        labels[index] = each.replace("...", names[len(names) - (op.rank(index) - len(each) + 3) :])
    for index, each in enumerate(labels):
        if len(set(each)) < len(each):
            raise Unsupported(f"takes a diagonal: {equation}")
        for place, label in enumerate(each):
            others = [op.shape(k)[other.index(label)] for k, other in enumerate(labels) if label in other]
            if any(size != op.shape(index)[place] for size in others):
                raise Unsupported(f"broadcasts axes of one element: {equation}")
    return labels, result.replace("...", names)


def _joined_size(sizes: Sequence[Size]) -> Size:
    """Return the size of axes made one."""
    total = Size(1)
    for size in sizes:
        if total.by_row and size.by_row:
            raise Unsupported("has the rows twice")
        total = Size(total.fixed * size.fixed, total.fixed * size.by_row + total.by_row * size.fixed)
    return total


def _reduction(kind: str) -> Convert:
    def convert(op: Operation) -> str:
        axes = op.axes(1)
        if not axes:
            return op.x(0)
        keeps = int(op.attribute("keep_dims"))
        if op.dtype(0) != BOOL:
            return op.emit.add(kind, op.x(0), op.emit.constant(axes), keepdims=keeps)
        whole = op.emit.cast(op.x(0), INT64)
        return op.emit.cast(op.emit.add(kind, whole, op.emit.constant(axes), keepdims=keeps), BOOL)

    return convert


def _bias_add_grad(op: Operation) -> str:
    if op.attribute("data_format") != "NHWC":
        raise Unsupported("its channels come first: build the model with channels last")
    return op.emit.add("ReduceSum", op.x(0), op.emit.constant(range(op.rank() - 1)), keepdims=0)


def _arg(kind: str) -> Convert:
    def convert(op: Operation) -> str:
        [axis] = op.integers(1)
        return op.emit.cast(op.emit.add(kind, op.x(0), axis=axis % op.rank(), keepdims=0), op.attribute("output_type"))

    return convert


def _softmax(kind: str) -> Convert:
    return lambda op: op.emit.add(kind, op.x(0), axis=-1)


def _cumsum(op: Operation) -> str:
    [axis] = op.integers(1)
    flags = {name: int(op.attribute(name)) for name in ("exclusive", "reverse")}
    return op.emit.add("CumSum", op.x(0), op.emit.constant(axis % op.rank()), **flags)


def _cumprod(op: Operation) -> str:
    """Factors multiplied one after the other: ONNX has no operator for it."""
    [axis] = op.integers(1)
    axis %= op.rank()
    size = op.shape(0)[axis]
    if size.by_row or size.fixed > MOST_FACTORS:
        raise Unsupported(f"multiplies more than {MOST_FACTORS} factors")
    places = range(size.fixed)
    factors = [op.emit.slice(op.x(0), [axis], [Size(place)], [Size(place + 1)]) for place in places]
    reverse, exclusive = op.attribute("reverse"), op.attribute("exclusive")
    products, total = [], ""
    for factor in factors[::-1] if reverse else factors:
        before = total
        total = op.emit.add("Mul", total, factor) if total else factor
        products.append(before if exclusive else total)
    if exclusive:
        products[0] = op.emit.expand(op.number(1), [*op.shape(0)[:axis], Size(1), *op.shape(0)[axis + 1 :]])
    return op.emit.add("Concat", *(products[::-1] if reverse else products), axis=axis)


class _Window:
    """The places of a window that moves over two axes of ``(batch, height, width, channels)``.

    Convolution and pooling are written as slices, one for each element of the window, which onnxruntime has in float64
    where it has neither ``Conv`` nor ``AveragePool``; no axis has to be moved, and one path serves both dtypes.
    """

    def __init__(self, op: Operation, image: Sequence[Size], window: Sequence[int]) -> None:
        if op.attribute("data_format") != "NHWC":
            raise Unsupported("its channels come first: build the model with channels last")
        if any(size.by_row for size in image[1:]):
            raise Unsupported("its image grows with the rows")
        self._emit = op.emit
        self.image = list(image)
        self.window = window
        self.strides = op.attribute("strides")[1:3]
        self.dilations = op.attribute("dilations")[1:3] if op.kind.startswith(("Conv", "Depthwise")) else [1, 1]
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(window, self.dilations, strict=True)]
        sizes = [size.fixed for size in image[1:3]]
        padding = op.attribute("padding")
        if padding == "SAME":
            self.places = [-(-size // stride) for size, stride in zip(sizes, self.strides, strict=True)]
            totals = [
                max((places - 1) * stride + span - size, 0)
                for places, stride, span, size in zip(self.places, self.strides, spans, sizes, strict=True)
            ]
            self.before = [total // 2 for total in totals]
        elif padding == "VALID":
            self.places = [
                (size - span) // stride + 1 for size, stride, span in zip(sizes, self.strides, spans, strict=True)
            ]
            self.before = [0, 0]
        else:
            explicit = op.attribute("explicit_paddings")[2:6]
            self.before = explicit[::2]
            self.places = [
                (size + sum(explicit[2 * axis : 2 * axis + 2]) - spans[axis]) // self.strides[axis] + 1
                for axis, size in enumerate(sizes)
            ]
        # All that any place of the window sees: places beyond the last stride are of no use, but fill the strides.
        self.padded = [
            max((span - 1) + places * stride, size + before)
            for span, places, stride, size, before in zip(
                spans, self.places, self.strides, sizes, self.before, strict=True
            )
        ]
        self._spans = spans

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """The elements of the window, by row and column."""
        steps = (range(0, size * by, by) for size, by in zip(self.window, self.dilations, strict=True))
        return list(itertools.product(*steps))

    def slices(self, image: str, fill: str) -> list[str]:
        """Return what each element of the window sees: ``(batch, *places, channels)``."""
        after = [
            all_ - size.fixed - before
            for all_, size, before in zip(self.padded, self.image[1:3], self.before, strict=True)
        ]
        padded = self._emit.pad(image, _sizes(0, *self.before, 0), _sizes(0, *after, 0), fill)
        return [
            self._emit.slice(
                padded,
                [1, 2],
                _sizes(*offset),
                _sizes(
                    *(
                        at + (places - 1) * stride + 1
                        for at, places, stride in zip(offset, self.places, self.strides, strict=True)
                    )
                ),
                self.strides,
            )
            for offset in self.offsets
        ]

    def spread(self, parts: Sequence[str], channels: int, zero: str) -> str:
        """Return the sum of what each element of the window gives back: the transpose of ``slices``."""
        total = ""
        for offset, part in zip(self.offsets, parts, strict=True):
            wide = self._dilated(part, channels, zero)
            sizes = [places * stride for places, stride in zip(self.places, self.strides, strict=True)]
            after = [all_ - at - size for all_, at, size in zip(self.padded, offset, sizes, strict=True)]
            placed = self._emit.pad(wide, _sizes(0, *offset, 0), _sizes(0, *after, 0), zero)
            total = self._emit.add("Add", total, placed) if total else placed
        ends = [before + size.fixed for before, size in zip(self.before, self.image[1:3], strict=True)]
        return self._emit.slice(total, [1, 2], _sizes(*self.before), _sizes(*ends))

    def _dilated(self, part: str, channels: int, zero: str) -> str:
        """Put zeros between the places, so that each lies where its window began."""
        if self.strides == [1, 1]:
            return part
        (high, wide), (down, right) = self.places, self.strides
        rows = self.image[0]
        apart = self._emit.reshape(part, [rows, *_sizes(high, 1, wide, 1, channels)])
        filled = self._emit.pad(apart, _sizes(*[0] * 6), _sizes(0, 0, down - 1, 0, right - 1, 0), zero)
        return self._emit.reshape(filled, [rows, *_sizes(high * down, wide * right, channels)])


def _sizes(*numbers: int) -> list[Size]:
    return [Size(number) for number in numbers]


def _joined(op: Operation, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else op.emit.add("Concat", *parts, axis=3)


def _conv(op: Operation) -> str:
    """A convolution as one product: what the window sees, side by side, times the kernel as a matrix."""
    *window, channels_in, channels_out = (size.fixed for size in op.shape(1))
    if channels_in != op.shape(0)[3].fixed:
        raise Unsupported("is in groups of channels")
    seen = _joined(op, _Window(op, op.shape(0), window).slices(op.x(0), op.number(0)))
    return op.emit.add(
        "MatMul", seen, op.emit.reshape(op.x(1), _sizes(int(np.prod(window)) * channels_in, channels_out))
    )


def _conv_input_grad(op: Operation) -> str:
    *window, channels_in, channels_out = (size.fixed for size in op.shape(1))
    count = int(np.prod(window))
    image = op.result()
    if channels_in != image[3].fixed:
        raise Unsupported("is in groups of channels")
    kernel = op.emit.transpose(op.emit.reshape(op.x(1), _sizes(count * channels_in, channels_out)), [1, 0])
    products = op.emit.add("MatMul", op.x(2), kernel)
    parts = [
        op.emit.slice(products, [3], _sizes(place * channels_in), _sizes((place + 1) * channels_in))
        for place in range(count)
    ]
    return _Window(op, image, window).spread(parts, channels_in, op.number(0, 2))


def _depthwise(op: Operation) -> str:
    *window, channels_in, times = (size.fixed for size in op.shape(1))
    total = ""
    for place, part in enumerate(_Window(op, op.shape(0), window).slices(op.x(0), op.number(0))):
        kernel = _kernel_at(op, place, channels_in, times)
        wide = op.emit.reshape(part, [*op.result()[:3], Size(channels_in), Size(1)])
        product = op.emit.add("Mul", wide, kernel)
        total = op.emit.add("Add", total, product) if total else product
    return op.emit.reshape(total, op.result())


def _depthwise_input_grad(op: Operation) -> str:
    *window, channels_in, times = (size.fixed for size in op.shape(1))
    by_channel = op.emit.reshape(op.x(2), [*op.shape(2)[:3], Size(channels_in), Size(times)])
    parts = [
        op.emit.add(
            "ReduceSum",
            op.emit.add("Mul", by_channel, _kernel_at(op, place, channels_in, times)),
            op.emit.constant([4]),
            keepdims=0,
        )
        for place in range(int(np.prod(window)))
    ]
    return _Window(op, op.result(), window).spread(parts, channels_in, op.number(0, 2))


def _kernel_at(op: Operation, place: int, channels_in: int, times: int) -> str:
    return op.emit.constant(op.array(1).reshape(-1, channels_in, times)[place], op.dtype(1))


def _pool(op: Operation, image: Sequence[Size]) -> _Window:
    sizes = op.attribute("ksize")
    if sizes[0] != 1 or sizes[3] != 1:
        raise Unsupported("pools over rows or channels")
    return _Window(op, image, sizes[1:3])


def _max_pool(op: Operation) -> str:
    lowest = op.number(-np.inf)
    return op.emit.add("Max", *_pool(op, op.shape(0)).slices(op.x(0), lowest))


def _firsts(op: Operation, window: _Window) -> list[str]:
    """Return for each element of the window whether it is the first that has the maximum there."""
    taken, masks = "", []
    for part in window.slices(op.x(0), op.number(-np.inf)):
        equal = op.emit.add("Equal", part, op.x(1))
        masks.append(op.emit.add("And", equal, op.emit.add("Not", taken)) if taken else equal)
        taken = op.emit.add("Or", taken, equal) if taken else equal
    return masks


def _max_pool_grad(op: Operation) -> str:
    window, zero = _pool(op, op.shape(0)), op.number(0)
    parts = [op.emit.add("Where", mask, op.x(2), zero) for mask in _firsts(op, window)]
    return window.spread(parts, op.shape(0)[3].fixed, zero)


def _max_pool_grad_grad(op: Operation) -> str:
    window, zero, total = _pool(op, op.shape(0)), op.number(0), ""
    for mask, part in zip(_firsts(op, window), window.slices(op.x(2), zero), strict=True):
        chosen = op.emit.add("Where", mask, part, zero)
        total = op.emit.add("Add", total, chosen) if total else chosen
    return total


def _counts(op: Operation, window: _Window) -> str:
    """How many elements of the image the window sees at each place: its padding does not count."""
    inside = []
    for axis, (places, stride) in enumerate(zip(window.places, window.strides, strict=True)):
        starts = np.arange(places) * stride - window.before[axis]
        ends = np.minimum(starts + window.window[axis], window.image[1 + axis].fixed)
        inside.append(ends - np.maximum(starts, 0))
    return op.emit.constant(np.outer(*inside)[None, :, :, None], op.dtype(len(op.inputs) - 1))


def _average_pool(op: Operation) -> str:
    window = _pool(op, op.shape(0))
    total = op.emit.add("Sum", *window.slices(op.x(0), op.number(0)))
    return op.emit.add("Div", total, _counts(op, window))


def _average_pool_grad(op: Operation) -> str:
    window = _pool(op, op.result())
    part = op.emit.add("Div", op.x(1), _counts(op, window))
    return window.spread([part] * len(window.offsets), op.result()[3].fixed, op.number(0, 1))


OPERATIONS: Final[Mapping[str, Convert]] = {
    "All": _reduction("ReduceMin"),
    "Any": _reduction("ReduceMax"),
    "ArgMax": _arg("ArgMax"),
    "ArgMin": _arg("ArgMin"),
    "AvgPool": _average_pool,
    "AvgPoolGrad": _average_pool_grad,
    "BatchMatMul": _product("adj_x", "adj_y"),
    "BatchMatMulV2": _product("adj_x", "adj_y"),
    "BatchMatMulV3": _product("adj_x", "adj_y"),
    "BiasAddGrad": _bias_add_grad,
    "Conv2D": _conv,
    "Conv2DBackpropInput": _conv_input_grad,
    "Cumprod": _cumprod,
    "Cumsum": _cumsum,
    "DepthwiseConv2dNative": _depthwise,
    "DepthwiseConv2dNativeBackpropInput": _depthwise_input_grad,
    "Einsum": _einsum,
    "LogSoftmax": _softmax("LogSoftmax"),
    "MatMul": _product("transpose_a", "transpose_b"),
    "Max": _reduction("ReduceMax"),
    "MaxPool": _max_pool,
    "MaxPoolGrad": _max_pool_grad,
    "MaxPoolGradGrad": _max_pool_grad_grad,
    "Mean": _reduction("ReduceMean"),
    "Min": _reduction("ReduceMin"),
    "Prod": _reduction("ReduceProd"),
    "Softmax": _softmax("Softmax"),
    "Sum": _reduction("ReduceSum"),
}
