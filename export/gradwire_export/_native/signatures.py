"""The signatures of a package as routines of one program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from gradwire._package import (
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    VALUE,
    VJP,
    Card,
    Signature,
    cotangent_name,
    signatures_of,
    tangent_name,
)
from gradwire_export._native.c_source import Routine
from gradwire_export._native.derivatives import cotangents, tangents
from gradwire_export._native.program import Program

COMPILED: Final = (SERVING_DEFAULT, VALUE, JVP, VJP, HVP, HESSIAN)


class Derived:
    """A program with the derivatives that a card names.

    Args:
        program: is extended.
        inputs: nodes by name.
        outputs: likewise.
        card: of the package.
    """

    def __init__(self, program: Program, inputs: Mapping[str, int], outputs: Mapping[str, int], card: Card) -> None:
        self._program, self._inputs, self._outputs, self._card = program, inputs, outputs, card
        first = next(iter(card.derivatives.values()), {})
        self._wrt = [tensor.name for tensor in card.inputs if tensor.name in first]
        self._tangents = {name: self._direction(tangent_name(name), inputs[name]) for name in self._wrt}
        self._cotangents = {name: self._direction(cotangent_name(name), node) for name, node in outputs.items()}
        self._firsts = self._first()

    def routine(self, name: str) -> Routine:
        """Return one of ``COMPILED``."""
        signature = signatures_of(self._card)[name]
        directions = {tangent_name(each): node for each, node in self._tangents.items()}
        directions |= {cotangent_name(each): node for each, node in self._cotangents.items()}
        inputs = {each: {**self._inputs, **directions}[each] for each in signature.inputs}
        known = self._named(signature)
        return Routine(name, inputs, {each: known[each] for each in signature.outputs})

    def _named(self, signature: Signature) -> dict[str, int]:
        """The nodes of a signature's outputs, by name; those of others are left out."""
        named = {**self._outputs, **self._firsts}
        for alias in self._card.aliases:
            if (derivative := self._card.derivative_of(alias)) in self._firsts:
                named[alias] = self._firsts[derivative]
        moved = {self._inputs[name]: node for name, node in self._tangents.items()}
        if signature.name == JVP:
            named |= self._along({name: self._outputs[name] for name in self._outputs}, moved)
        if signature.name == HVP:
            named |= self._along(self._firsts, moved)
        if signature.name == VJP:
            seeds = {self._outputs[name]: node for name, node in self._cotangents.items()}
            bars = cotangents(self._program, seeds, [self._inputs[name] for name in self._wrt])
            named |= {cotangent_name(name): node for name, node in zip(self._wrt, bars, strict=True)}
        if signature.name == HESSIAN:
            named |= self._second()
        return named

    def _direction(self, name: str, like: int) -> int:
        return self._program.input(name, self._program.width(like))

    def _along(self, nodes: Mapping[str, int], moved: Mapping[int, int]) -> dict[str, int]:
        dots = tangents(self._program, list(nodes.values()), moved)
        return {tangent_name(name): dot for name, dot in zip(nodes, dots, strict=True)}

    def _first(self) -> dict[str, int]:
        """First derivatives from the cheaper side: tangents of input elements, or cotangents of output ones."""
        program = self._program
        columns = sum(program.width(self._inputs[name]) for name in self._wrt)
        rows = sum(program.width(node) for node in self._outputs.values())
        forward = (
            {name: self._columns(list(self._outputs.values()), name) for name in self._wrt} if columns <= rows else {}
        )
        named = {}
        for position, (output, node) in enumerate(self._outputs.items()):
            by_input = self._rows(node) if not forward else {}
            for name in self._wrt:
                if forward:
                    named[self._card.derivatives[output][name]] = self._stacked(
                        [each[position] for each in forward[name]], by_column=True
                    )
                else:
                    named[self._card.derivatives[output][name]] = self._stacked(by_input[name], by_column=False)
        return named

    def _columns(self, nodes: list[int], name: str) -> list[list[int]]:
        """The tangents of some nodes along each element of an input."""
        width = self._program.width(self._inputs[name])
        return [
            tangents(self._program, nodes, {self._inputs[name]: self._program.constant(unit)}) for unit in np.eye(width)
        ]

    def _rows(self, output: int) -> dict[str, list[int]]:
        """The cotangents of every input from each element of an output."""
        inputs = [self._inputs[name] for name in self._wrt]
        sweeps = [
            cotangents(self._program, {output: self._program.constant(unit)}, inputs)
            for unit in np.eye(self._program.width(output))
        ]
        return {name: [sweep[index] for sweep in sweeps] for index, name in enumerate(self._wrt)}

    def _stacked(self, parts: list[int], *, by_column: bool) -> int:
        """Join vectors, as the columns or as the rows of a matrix, row after row."""
        width = self._program.width(parts[0])
        if by_column:
            order = [(column, row) for row in range(width) for column in range(len(parts))]
        else:
            order = [(row, column) for row in range(len(parts)) for column in range(width)]
        return self._program.gather(parts, order)

    def _second(self) -> dict[str, int]:
        named = {}
        for second in self._wrt:
            firsts = {
                name: self._firsts[self._card.derivatives[output][first]]
                for output, by_first in self._card.second_derivatives.items()
                for first, by_second in by_first.items()
                if (name := by_second.get(second)) is not None
            }
            columns = self._columns(list(firsts.values()), second)
            for index, name in enumerate(firsts):
                named[name] = self._stacked([each[index] for each in columns], by_column=True)
        return named
