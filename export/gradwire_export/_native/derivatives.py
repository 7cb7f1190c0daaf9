"""Derivatives of a program, as further operations of it: by tangents (forward) and by cotangents (reverse).

Both are the textbook's (Griewank and Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, chapters 3 and 6), applied
to a program and giving a program, so that second derivatives are tangents of first ones. At a kink they are those of
TensorFlow's own gradients: 0 for a ReLU at 0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from gradwire_export._native.program import Node, Program

_TWO_BY_ROOT_PI: Final = 2 / np.sqrt(np.pi)


def tangents(program: Program, outputs: Sequence[int], directions: Mapping[int, int]) -> list[int]:
    """Return the tangents of some nodes.

    Args:
        program: is extended.
        outputs: the nodes.
        directions: the tangent of each input that moves, by the input's node.
    """
    of: dict[int, int] = {}
    for number in program.needed(outputs):
        node = program.nodes[number]
        if node.kind == "input":
            of[number] = directions.get(number, -1)
        elif all(of[argument] < 0 for argument in node.arguments):
            of[number] = -1
        else:
            of[number] = _tangent(program, number, node, of)
    return [program.zeros(program.width(output)) if of[output] < 0 else of[output] for output in outputs]


def _tangent(program: Program, number: int, node: Node, of: Mapping[int, int]) -> int:
    moved = [program.zeros(program.width(each)) if of[each] < 0 else of[each] for each in node.arguments]
    return _TANGENTS[node.kind](program, number, node, moved)


_TANGENTS: Final[Mapping[str, Callable[[Program, int, Node, list[int]], int]]] = {
    "linear": lambda p, y, node, dots: p.linear(dots[0], p.arrays[node.detail[0]]),
    "gather": lambda p, y, node, dots: p.gather(dots, node.detail),
    "unary": lambda p, y, node, dots: p.mul(dots[0], derivative(p, y)),
    "add": lambda p, y, node, dots: p.add(*dots),
    "sub": lambda p, y, node, dots: p.sub(*dots),
    "mul": lambda p, y, node, dots: p.add(p.mul(dots[0], node.arguments[1]), p.mul(node.arguments[0], dots[1])),
    "div": lambda p, y, node, dots: p.div(p.sub(dots[0], p.mul(y, dots[1])), node.arguments[1]),
}


def cotangents(program: Program, seeds: Mapping[int, int], inputs: Sequence[int]) -> list[int]:
    """Return the cotangents of some inputs.

    Args:
        program: is extended.
        seeds: the cotangent of each output, by its node.
        inputs: the nodes of the inputs.
    """
    sums: dict[int, int] = dict(seeds)
    moving = _depends(program, list(seeds), inputs)
    for number in sorted(moving, reverse=True):
        if number in sums and program.nodes[number].kind != "input":
            for argument, part in _cotangents(program, number, sums[number]):
                if argument in moving:
                    sums[argument] = program.add(sums[argument], part) if argument in sums else part
    return [sums[each] if each in sums else program.zeros(program.width(each)) for each in inputs]


def _depends(program: Program, outputs: Sequence[int], inputs: Sequence[int]) -> set[int]:
    moving: set[int] = set(inputs)
    for number in program.needed(outputs):
        if moving.intersection(program.nodes[number].arguments):
            moving.add(number)
    return moving


def _cotangents(program: Program, number: int, bar: int) -> list[tuple[int, int]]:
    """The cotangents that a node gives to what it takes: (argument, cotangent)."""
    node = program.nodes[number]
    if node.kind == "gather":
        return _scattered(program, node, bar)
    return list(zip(node.arguments, _COTANGENTS[node.kind](program, number, node, bar), strict=True))


def _of_division(program: Program, number: int, node: Node, bar: int) -> list[int]:
    by = program.div(bar, node.arguments[1])
    return [by, program.scaled(program.mul(by, number), -1.0)]


_COTANGENTS: Final[Mapping[str, Callable[[Program, int, Node, int], list[int]]]] = {
    "linear": lambda p, y, node, bar: [p.linear(bar, p.arrays[node.detail[0]].T)],
    "unary": lambda p, y, node, bar: [p.mul(bar, derivative(p, y))],
    "add": lambda p, y, node, bar: [bar, bar],
    "sub": lambda p, y, node, bar: [bar, p.scaled(bar, -1.0)],
    "mul": lambda p, y, node, bar: [p.mul(bar, node.arguments[1]), p.mul(bar, node.arguments[0])],
    "div": _of_division,
}


def _scattered(program: Program, node: Node, bar: int) -> list[tuple[int, int]]:
    """The cotangents of what a gather takes: an element that it takes twice has the sum of two."""
    users: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, (source, element) in enumerate(node.detail):
        users[source][element].append(position)
    zero, parts = program.zeros(1), []
    for source, by_element in users.items():
        argument = node.arguments[source]
        for turn in range(max(Counter(map(len, by_element.values())))):
            chosen = [by_element.get(element, [])[turn : turn + 1] for element in range(program.width(argument))]
            parts.append((argument, program.gather([bar, zero], [(0, each[0]) if each else (1, 0) for each in chosen])))
    return parts


def derivative(program: Program, number: int) -> int:
    """Return the derivative of a function of each element, at its argument."""
    node = program.nodes[number]
    (x,), (function, *parameters) = node.arguments, node.detail
    return _RULES[function](program, x, number, *parameters)


def _one_minus(program: Program, x: int) -> int:
    return program.sub(program.constant(np.ones(program.width(x))), x)


def _flat(program: Program, x: int) -> int:
    return program.zeros(program.width(x))


# The derivative of y = function(x), from x and y.
_Rule = Callable[..., int]
_RULES: Final[Mapping[str, _Rule]] = {
    "exp": lambda p, x, y: y,
    "expm1": lambda p, x, y: p.unary("exp", x),
    "log": lambda p, x, y: p.unary("reciprocal", x),
    "log1p": lambda p, x, y: p.unary("reciprocal", p.add(x, p.constant(np.ones(p.width(x))))),
    "tanh": lambda p, x, y: _one_minus(p, p.mul(y, y)),
    "sigmoid": lambda p, x, y: p.mul(y, _one_minus(p, y)),
    "softplus": lambda p, x, y: p.unary("sigmoid", x),
    "relu": lambda p, x, y: p.unary("step", x),
    "step": lambda p, x, y: _flat(p, x),
    "leaky_relu": lambda p, x, y, slope: p.unary("leaky_step", x, slope),
    "leaky_step": lambda p, x, y, slope: _flat(p, x),
    "elu": lambda p, x, y: p.unary("elu_slope", x),
    "elu_slope": lambda p, x, y: p.unary("elu_curvature", x),
    "elu_curvature": lambda p, x, y: p.unary("elu_curvature", x),
    "sqrt": lambda p, x, y: p.scaled(p.unary("reciprocal", y), 0.5),
    "rsqrt": lambda p, x, y: p.scaled(p.mul(y, p.mul(y, y)), -0.5),
    "reciprocal": lambda p, x, y: p.scaled(p.mul(y, y), -1.0),
    "sin": lambda p, x, y: p.unary("cos", x),
    "cos": lambda p, x, y: p.scaled(p.unary("sin", x), -1.0),
    "erf": lambda p, x, y: p.scaled(p.unary("exp", p.scaled(p.mul(x, x), -1.0)), _TWO_BY_ROOT_PI),
}
