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
        if of[number] < 0:
            of[number] = -1
    return [program.zeros(program.width(output)) if of[output] < 0 else of[output] for output in outputs]


def _tangent(program: Program, number: int, node: Node, of: Mapping[int, int]) -> int:
    moved = [program.zeros(program.width(each)) if of[each] < 0 else of[each] for each in node.arguments]
    match node.kind:
        case "linear":
            return program.linear(moved[0], program.arrays[_index(node)])
        case "gather":
            return program.gather(moved, node.detail)
        case "unary":
            return program.mul(moved[0], derivative(program, number))
        case "add":
            return program.add(*moved)
        case "sub":
            return program.sub(*moved)
        case "mul":
            a, b = node.arguments
            return program.add(program.mul(moved[0], b), program.mul(a, moved[1]))
        case _:  # a division
            return program.div(program.sub(moved[0], program.mul(number, moved[1])), node.arguments[1])


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
    node = program.nodes[number]
    match node.kind:
        case "linear":
            return [(node.arguments[0], program.linear(bar, program.arrays[_index(node)].T))]
        case "gather":
            return _scattered(program, node, bar)
        case "unary":
            return [(node.arguments[0], program.mul(bar, derivative(program, number)))]
        case "add":
            return [(node.arguments[0], bar), (node.arguments[1], bar)]
        case "sub":
            return [(node.arguments[0], bar), (node.arguments[1], program.scaled(bar, -1.0))]
        case "mul":
            a, b = node.arguments
            return [(a, program.mul(bar, b)), (b, program.mul(bar, a))]
        case "div":
            a, b = node.arguments
            by = program.div(bar, b)
            return [(a, by), (b, program.scaled(program.mul(by, number), -1.0))]
        case _:
            return []


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
    return _RULES[str(function)](program, x, number, *parameters)


def _index(node: Node) -> int:
    return int(str(node.detail[0]))


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
FUNCTIONS: Final = frozenset(_RULES)
