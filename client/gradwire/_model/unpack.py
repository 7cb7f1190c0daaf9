"""From the tensors of an answer to what the caller gets: arrays in the caller's form, plain or by output and input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gradwire._model.binding import Function
    from gradwire._model.points import Points
    from gradwire._model.request import Arrays


def values(function: Function, points: Points, found: Arrays) -> Any:
    """Gives f: ``{output: array}``, or the one array."""
    return one(function, {name: points.value(found[name]) for name in function.outputs})


def gradients(function: Function, points: Points, found: Arrays) -> Any:
    """Gives df/dx: ``{output: {input: array}}``, or the one array."""
    return _pairs(function, lambda tensor, wrt: points.derivative(found[tensor], wrt))


def matrices(function: Function, points: Points, found: Arrays) -> Any:
    """Gives df/dx as matrices: ``{output: {input: array}}``, or the one array."""
    return _pairs(function, lambda tensor, wrt: points.matrix(found[tensor], wrt))


def tangents(function: Function, points: Points, found: Arrays) -> Any:
    """Gives products in the form of the values: ``{output: array}``, or the one array."""
    return one(function, {name: points.value(found[tensor]) for name, tensor in function.tensors.items()})


def cotangents(function: Function, points: Points, found: Arrays) -> Any:
    """Gives products in the form of the inputs: ``{input: array}``, or the one array."""
    by_input = function.tensors.items()
    return one(function, {wrt: points.derivative(found[tensor], wrt) for wrt, tensor in by_input})


def hessians(function: Function, points: Points, found: Arrays) -> Any:
    """Gives d²f/dx²: ``{output: {first: {second: array}}}`` with both orders of every pair, or the one array."""
    by_output = {name: _both_orders(by_inputs, points, found) for name, by_inputs in function.tensors.items()}
    return one(function, one(function, one(function, by_output)))


def _pairs(function: Function, form: Callable[[str, str], NDArray[Any]]) -> Any:
    pairs = {
        name: one(function, {wrt: form(tensor, wrt) for wrt, tensor in by_input.items()})
        for name, by_input in function.tensors.items()
    }
    return one(function, pairs)


def one(function: Function, entries: Mapping[str, Any]) -> Any:
    """Gives the entry itself, where there is one input and one output."""
    return next(iter(entries.values())) if function.is_plain else entries


def _both_orders(by_inputs: Mapping[str, Mapping[str, str]], points: Points, found: Arrays) -> Any:
    """Fills in the second of every mixed pair, of which the package has one: the same numbers, axes exchanged."""
    wrt = list(dict.fromkeys([*by_inputs, *(second for row in by_inputs.values() for second in row)]))
    whole: dict[str, dict[str, NDArray[Any]]] = {first: {} for first in wrt}
    for first, row in by_inputs.items():
        for second, tensor in row.items():
            array = points.derivative(found[tensor], first, second)
            whole[first][second] = array
            if first != second:
                own = len(points.part(first))
                start = array.ndim - own - len(points.part(second))
                swapped = np.moveaxis(array, range(start, start + own), range(-own, 0))
                whole[second][first] = np.ascontiguousarray(swapped)
    inputs = [name for name in points.rows if name in whole]
    return {first: {second: whole[first][second] for second in inputs if second in whole[first]} for first in inputs}
