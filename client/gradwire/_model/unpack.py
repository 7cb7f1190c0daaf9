"""From the tensors of a response to what the caller gets: arrays in the caller's form, plain or by output and input.

Each function takes the binding of the method, the tensors of one part of it, the caller's points, and the response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradwire._model.binding import SignatureBinding
from gradwire._model.points import Points

Arrays = Mapping[str, NDArray[Any]]
Unpack = Callable[[SignatureBinding, Mapping[str, Any], Points, Arrays], Any]


def values(binding: SignatureBinding, tensors: Mapping[str, str], points: Points, arrays: Arrays) -> Any:
    """Return ``{output: array}``, or the one array: f, or its tangents."""
    return _level(binding.has_outputs, {output: points.value(arrays[tensor]) for output, tensor in tensors.items()})


def derivatives(
    binding: SignatureBinding, tensors: Mapping[str, Mapping[str, str]], points: Points, arrays: Arrays
) -> Any:
    """Return ``{output: {input: array}}``, or the one array: df/dx, or its tangents."""
    return _pairs(binding, tensors, lambda tensor, wrt: points.derivative(arrays[tensor], wrt))


def matrices(
    binding: SignatureBinding, tensors: Mapping[str, Mapping[str, str]], points: Points, arrays: Arrays
) -> Any:
    """Return df/dx as matrices: ``{output: {input: array}}``, or the one array."""
    return _pairs(binding, tensors, lambda tensor, wrt: points.matrix(arrays[tensor], wrt))


def cotangents(binding: SignatureBinding, tensors: Mapping[str, str], points: Points, arrays: Arrays) -> Any:
    """Return the cotangents of the inputs: ``{input: array}``, or the one array."""
    return _level(binding.has_inputs, {wrt: points.derivative(arrays[tensor], wrt) for wrt, tensor in tensors.items()})


def hessians(
    binding: SignatureBinding,
    tensors: Mapping[str, Mapping[str, Mapping[str, str]]],
    points: Points,
    arrays: Arrays,
) -> Any:
    """Return d²f/dx²: ``{output: {first: {second: array}}}`` with both orders of every pair, or the one array."""
    by_output: dict[str, Any] = {}
    for output, by_inputs in tensors.items():
        blocks = _both_orders(binding.wrt, by_inputs, points, arrays)
        rows = {first: _level(binding.has_inputs, row) for first, row in blocks.items()}
        by_output[output] = _level(binding.has_inputs, rows)
    return _level(binding.has_outputs, by_output)


def _pairs(
    binding: SignatureBinding,
    tensors: Mapping[str, Mapping[str, str]],
    reshape: Callable[[str, str], NDArray[Any]],
) -> Any:
    by_output = {
        output: _level(binding.has_inputs, {wrt: reshape(tensor, wrt) for wrt, tensor in by_input.items()})
        for output, by_input in tensors.items()
    }
    return _level(binding.has_outputs, by_output)


def _level(is_level: bool, entries: Mapping[str, Any]) -> Any:
    """Return the entries by name, or the only one."""
    return entries if is_level else next(iter(entries.values()))


def _both_orders(
    order: Sequence[str], by_inputs: Mapping[str, Mapping[str, str]], points: Points, arrays: Arrays
) -> dict[str, dict[str, NDArray[Any]]]:
    """Add the second order of every mixed pair, of which the package has one: the same elements, axes exchanged."""
    wrt = {*by_inputs, *(second for row in by_inputs.values() for second in row)}
    blocks: dict[str, dict[str, NDArray[Any]]] = {first: {} for first in wrt}
    for first, row in by_inputs.items():
        for second, tensor in row.items():
            array = points.derivative(arrays[tensor], first, second)
            blocks[first][second] = array
            if first != second:
                own = len(points.row_form(first))
                start = array.ndim - own - len(points.row_form(second))
                swapped = np.moveaxis(array, range(start, start + own), range(-own, 0))
                blocks[second][first] = np.array(swapped, order="C")  # of one point too, which has no axis
    inputs = [name for name in order if name in blocks]
    return {first: {second: blocks[first][second] for second in inputs if second in blocks[first]} for first in inputs}
