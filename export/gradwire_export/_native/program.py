"""What a function computes for one row, as data: vectors of numbers, and operations on them.

A row's tensors are flat here. Whatever only moves numbers (a reshape, a slice, a concatenation) is one operation,
``gather``; whatever is linear with known weights (a layer, a sum, a mean) is another, ``linear``. Equal operations are
one, and what follows from constants alone is a constant, so derivatives (``derivatives.py``) may be written down as the
rules have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

ELEMENTWISE: Final = frozenset({"unary", "add", "sub", "mul", "div"})


@final
@dataclass(frozen=True, slots=True)
class Node:
    """An operation and its result, a vector.

    Attributes:
        kind: ``input``, ``constant``, ``linear`` (x W + b), ``gather``, ``unary``, ``add``, ``sub``, ``mul``, ``div``.
        arguments: the nodes that it takes, by number.
        width: elements of the result.
        detail: the input's name, the unary function's, the constant's index, the weights' and the bias's, or for each
            element of a gather the argument and the element there.
    """

    kind: str
    arguments: tuple[int, ...]
    width: int
    detail: tuple[Any, ...] = ()


@final
class Program:
    """Operations in the order in which they can run.

    Args:
        dtype: of every number, float32 or float64.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[Node, int] = {}
        self._stored: dict[tuple[tuple[int, ...], bytes], int] = {}

    def width(self, node: int) -> int:
        """Return the number of elements of a node's result."""
        return self.nodes[node].width

    def input(self, name: str, width: int) -> int:
        """Add an input of the row."""
        return self._add(Node("input", (), width, (name,)))

    def constant(self, values: np.ndarray) -> int:
        """Add a vector that is the same for every row."""
        flat = np.asarray(values, self.dtype).reshape(-1)
        return self._add(Node("constant", (), len(flat), (self._store(flat),)))

    def zeros(self, width: int) -> int:
        """Add a constant of zeros."""
        return self.constant(np.zeros(width))

    def linear(self, x: int, weights: np.ndarray, bias: np.ndarray | None = None) -> int:
        """Add x W + b."""
        known = self.value(x)
        if known is not None:
            product = known.astype(np.float64) @ np.asarray(weights, np.float64)
            return self.constant(product if bias is None else product + bias)
        stored = (self._store(np.asarray(weights, self.dtype)),)
        if bias is not None:
            stored += (self._store(np.asarray(bias, self.dtype).reshape(-1)),)
        return self._add(Node("linear", (x,), weights.shape[1], stored))

    def gather(self, sources: Sequence[int], elements: Sequence[tuple[int, int]]) -> int:
        """Add a vector of elements of others: for each the source's position and the element there."""
        if len(sources) == 1 and [element for _, element in elements] == list(range(self.width(sources[0]))):
            return sources[0]
        known = [value for value in map(self.value, sources) if value is not None]
        if len(known) == len(sources):
            return self.constant(np.array([known[source][element] for source, element in elements], self.dtype))
        return self._add(Node("gather", tuple(sources), len(elements), tuple(elements)))

    def unary(self, function: str, x: int, *parameters: float) -> int:
        """Add a function of each element, one of those that the emitter knows."""
        return self._add(Node("unary", (x,), self.width(x), (function, *parameters)))

    def add(self, a: int, b: int) -> int:
        """Add a + b."""
        if self.is_zero(a) or self.is_zero(b):
            return b if self.is_zero(a) else a
        return self._binary("add", a, b)

    def sub(self, a: int, b: int) -> int:
        """Add a - b."""
        return a if self.is_zero(b) else self._binary("sub", a, b)

    def mul(self, a: int, b: int) -> int:
        """Add a b, elementwise."""
        for one, other in ((a, b), (b, a)):
            if self.is_zero(one):
                return one
            if (value := self.value(one)) is not None and (value == 1).all():
                return other
        return self._binary("mul", a, b)

    def div(self, a: int, b: int) -> int:
        """Add a / b, elementwise."""
        return a if self.is_zero(a) else self._binary("div", a, b)

    def scaled(self, x: int, factor: float) -> int:
        """Add a multiple of x."""
        return self.mul(x, self.constant(np.full(self.width(x), factor)))

    def value(self, node: int) -> np.ndarray | None:
        """Return a constant's value; None for anything else."""
        each = self.nodes[node]
        return self.arrays[each.detail[0]] if each.kind == "constant" else None

    def is_zero(self, node: int) -> bool:
        """Whether a node is a constant of zeros."""
        value = self.value(node)
        return value is not None and not value.any()

    def needed(self, outputs: Sequence[int]) -> list[int]:
        """Return the nodes that some outputs need, in the order in which they can run."""
        todo, needed = list(outputs), set()
        while todo:
            node = todo.pop()
            if node not in needed:
                needed.add(node)
                todo += self.nodes[node].arguments
        return sorted(needed)

    def _binary(self, kind: str, a: int, b: int) -> int:
        left, right = self.value(a), self.value(b)
        if left is not None and right is not None:
            operation = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[kind]
            return self.constant(operation(left, right))
        return self._add(Node(kind, (a, b), self.width(a)))

    def _add(self, node: Node) -> int:
        if node not in self._numbers:
            self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return self._numbers[node]

    def _store(self, array: np.ndarray) -> int:
        key = (array.shape, array.tobytes())
        if key not in self._stored:
            self._stored[key] = len(self.arrays)
            self.arrays.append(array)
        return self._stored[key]
