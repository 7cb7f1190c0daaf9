"""A program written as C: with rows in the lanes of the vector unit, or for one row in C99.

The operations are the same text in both; what a number is, and the functions of one, are those of ``lanes.h`` or
``scalar.h``. Operations on elements of the same width that follow each other are one loop, and what nothing needs any
longer gives its place to the next.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np

from gradwire._errors import ConversionError
from gradwire_export._native.program import ELEMENTWISE, Node, Program

_OPERATORS: Final = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_PER_LINE: Final = 8
_ARRAY: Final = re.compile(r"\barray_(\d+)\b")
MOST_IN_FLIGHT: Final = 1 << 14  # numbers that a row has at one time: on the stack, times 64 bytes


@final
@dataclass(frozen=True)
class Routine:
    """A function to write.

    Attributes:
        name: in C.
        inputs: nodes by name, in the order of the arguments.
        outputs: likewise.
    """

    name: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


def arrays_text(program: Program, bodies: Iterable[str]) -> str:
    """Write the weights and constants that some functions read."""
    used = sorted({int(index) for body in bodies for index in _ARRAY.findall(body)})
    return "\n".join(_array(index, program.arrays[index]) for index in used)


def _array(index: int, array: np.ndarray) -> str:
    numbers = [_number(value) for value in array.reshape(-1)]
    lines = [", ".join(numbers[start : start + _PER_LINE]) for start in range(0, len(numbers), _PER_LINE)]
    return f"static const REAL array_{index}[{len(numbers)}] = {{\n  " + ",\n  ".join(lines) + "};"


def _number(value: np.floating) -> str:
    """Write a number such that C reads the same one."""
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else ("INFINITY" if value > 0 else "-INFINITY")
    text = np.format_float_scientific(value, unique=True, trim="0")
    return f"{text}f" if value.dtype == np.float32 else text


def body_text(program: Program, routine: Routine, *, static: bool) -> str:
    """Write the function that computes one row, or one of each lane, from arrays to arrays."""
    return ("static " if static else "") + _Body(program, routine).text()


def header_text(dtype: np.dtype, *, lanes: bool) -> str:
    """Write what stands before the weights: what a number is, and the functions of one."""
    bits = 8 * dtype.itemsize
    kind, function = ("float", "name##f") if bits == 32 else ("double", "name")  # noqa: PLR2004 - bits of a float
    file = Path(__file__).with_name("lanes.h" if lanes else "scalar.h")
    return (
        f"#include <math.h>\n\n#define REAL {kind}\n#define REAL_BITS {bits}\n#define M(name) {function}\n\n"
        f"{file.read_text(encoding='utf-8')}"
    )


def batch_text(program: Program, routine: Routine, row: str) -> str:
    """Write the function that takes rows in arrays as NumPy has them; ``row`` names that of one row."""
    lines, arguments = [], []
    for index, (name, node) in enumerate(routine.inputs.items()):
        width = program.width(node)
        lines += [f"real in_{name}[{width}];", f"load({width}, in[{index}] + row * {width}, rows - row, in_{name});"]
        arguments.append(f"in_{name}")
    for name, node in routine.outputs.items():
        lines.append(f"real out_{name}[{program.width(node)}];")
        arguments.append(f"out_{name}")
    lines.append(f"{row}({', '.join(arguments)});")
    for index, (name, node) in enumerate(routine.outputs.items()):
        width = program.width(node)
        lines.append(f"store({width}, out_{name}, rows - row, out[{index}] + row * {width});")
    inner = "\n    ".join(lines)
    return (
        f"void {routine.name}(long rows, const REAL *const *in, REAL *const *out) {{\n"
        f"  for (long row = 0; row < rows; row += LANES) {{\n    {inner}\n  }}\n}}"
    )


@final
class _Body:
    def __init__(self, program: Program, routine: Routine) -> None:
        self._program, self._routine = program, routine
        self._order = program.needed(list(routine.outputs.values()))
        self._inputs = {node: f"in_{name}" for name, node in routine.inputs.items()}
        self._groups = self._grouped()
        self._last = self._last_uses()
        self._place: dict[int, int] = {}
        self.size = 0

    def text(self) -> str:
        free: list[tuple[int, int]] = []
        lines = []
        for step, group in enumerate(self._groups):
            for number in self._stored(group):
                self._place[number] = self._take(free, self._program.width(number))
            lines += self._group_lines(group)
            for number, last in self._last.items():
                if last == step and number in self._place:
                    free.append((self._place[number], self._program.width(number)))
        for name, number in self._routine.outputs.items():
            lines.append(
                f"for (int i = 0; i < {self._program.width(number)}; ++i) out_{name}[i] = {self._element(number)};"
            )
        if self.size > MOST_IN_FLIGHT:
            raise ConversionError(
                f"signature {self._routine.name!r} holds {self.size:,} numbers of a row at one time, and kernels hold "
                f"{MOST_IN_FLIGHT:,} at most"
            )
        arguments = [f"const real *restrict in_{name}" for name in self._routine.inputs]
        arguments += [f"real *restrict out_{name}" for name in self._routine.outputs]
        unused = [f"(void)in_{name};" for name, node in self._routine.inputs.items() if node not in self._order]
        buffer = [f"real buffer[{self.size}];"] if self.size else []
        inner = "\n  ".join([*unused, *buffer, *lines])
        return f"void {self._routine.name}({', '.join(arguments)}) {{\n  {inner}\n}}"

    def _grouped(self) -> list[list[int]]:
        """Put operations on elements of one width that follow each other into one loop."""
        computed = [number for number in self._order if self._node(number).kind not in {"input", "constant"}]
        return [list(group) for _, group in itertools.groupby(computed, self._loop_of)]

    def _loop_of(self, number: int) -> object:
        node = self._node(number)
        return ("elements", node.width) if node.kind in ELEMENTWISE else number

    def _last_uses(self) -> dict[int, int]:
        last = {number: step for step, group in enumerate(self._groups) for number in group}
        for step, group in enumerate(self._groups):
            for number in group:
                last.update(dict.fromkeys((each for each in self._node(number).arguments if each in last), step))
        forever = len(self._groups)
        return last | {number: forever for number in self._routine.outputs.values() if number in last}

    def _stored(self, group: Sequence[int]) -> list[int]:
        """Which results of a loop are needed outside of it."""
        if self._node(group[0]).kind not in ELEMENTWISE:
            return list(group)
        step = self._groups.index(list(group))
        return [number for number in group if self._last[number] > step]

    def _take(self, free: list[tuple[int, int]], width: int) -> int:
        for index, (place, size) in enumerate(free):
            if size >= width:
                free.pop(index)
                if size > width:
                    free.append((place + width, size - width))
                return place
        self.size += width
        return self.size - width

    def _group_lines(self, group: Sequence[int]) -> list[str]:
        node = self._node(group[0])
        if node.kind == "linear":
            return [self._linear(group[0], node)]
        if node.kind == "gather":
            return self._gather(group[0], node)
        within, lines = set(), [f"for (int i = 0; i < {node.width}; ++i) {{"]
        for number in group:
            lines.append(f"  const real t{number} = {self._expression(self._node(number), within)};")
            within.add(number)
            if number in self._place:
                lines.append(f"  buffer[{self._place[number]} + i] = t{number};")
        return [*lines, "}"]

    def _expression(self, node: Node, within: set[int]) -> str:
        operands = [f"t{each}" if each in within else self._element(each) for each in node.arguments]
        if node.kind != "unary":
            return f" {_OPERATORS[node.kind]} ".join(operands)
        function, *parameters = node.detail
        return f"v_{function}({', '.join([*operands, *(f'(REAL){each!r}' for each in parameters)])})"

    def _linear(self, number: int, node: Node) -> str:
        weights, *bias = (f"array_{each}" for each in node.detail)
        source = node.arguments[0]
        x = self._inputs[source] if source in self._inputs else f"buffer + {self._place[source]}"
        return (
            f"linear({self._program.width(source)}, {node.width}, {weights}, {bias[0] if bias else '0'}, {x}, "
            f"buffer + {self._place[number]});"
        )

    def _gather(self, number: int, node: Node) -> list[str]:
        """Write a gather as loops over elements that follow each other in one source."""
        place, lines, start = self._place[number], [], 0
        while start < len(node.detail):
            source, element = node.detail[start]
            end = start
            while end < len(node.detail) and node.detail[end] == (source, element + end - start):
                end += 1
            argument = node.arguments[source]
            lines.append(
                f"for (int i = 0; i < {end - start}; ++i) buffer[{place + start} + i] = "
                f"{self._element(argument, element)};"
            )
            start = end
        return lines

    def _element(self, number: int, offset: int = 0) -> str:
        """Write element i + offset of a node's result."""
        node = self._node(number)
        if node.kind == "constant":
            values = self._program.arrays[node.detail[0]]
            if (values == values[0]).all():
                return f"ALL({_number(values[0])})"
            return f"ALL(array_{node.detail[0]}[i{f' + {offset}' if offset else ''}])"
        if number in self._inputs:
            return f"{self._inputs[number]}[i{f' + {offset}' if offset else ''}]"
        return f"buffer[{self._place[number] + offset} + i]"

    def _node(self, number: int) -> Node:
        return self._program.nodes[number]
