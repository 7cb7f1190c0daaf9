"""What a package is to hold: which function, which derivatives, which signatures, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import prod
from typing import Final

from gradwire._errors import ConversionError, UsageError
from gradwire._package import contract
from gradwire_export._analysis import require_derivatives
from gradwire_export._derivatives import differentiated
from gradwire_export._sources import Function, Pair, row_shape

ALWAYS: Final = (contract.SERVING_DEFAULT, contract.VALUE)  # and the card
CHOSEN: Final = (contract.JVP, contract.VJP, contract.HVP, contract.HESSIAN)
SECOND_ORDER: Final = (contract.HVP, contract.HESSIAN)
# A Hessian repeats the rows for each input number; up to here that is cheap enough to come along unasked.
HESSIAN_NUMBERS: Final = 16
# Each is a copy of the backward graph to trace and load; at 32 they still took a sixth of what copies of the rows take.
MOST_SWEEPS: Final = 32


@dataclass(frozen=True)
class Plan:
    """What a package is to hold.

    Attributes:
        function: what it computes; its rows must be independent.
        names: ``{output: {input: name of the first derivative}}``, declared zeros too.
        zeros: pairs (output, input) that are not connected and declared to be zero.
        signatures: their names, in the order of the contract's table.
        warnings: what its user must know, a line each.
        two_sweeps: whether one reverse sweep can be taken over another.
        loops: whether the function holds loops.
        xla: whether they are compiled by XLA.
    """

    function: Function
    names: dict[str, dict[str, str]]
    zeros: frozenset[Pair]
    signatures: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    two_sweeps: bool = True
    loops: bool = False
    xla: bool = False

    @property
    def wanted(self) -> dict[str, list[str]]:
        """Output -> the inputs by which there is something to differentiate; no output without any."""
        wanted = {
            output: [wrt for wrt in by_input if (output, wrt) not in self.zeros]
            for output, by_input in self.names.items()
        }
        return {output: inputs for output, inputs in wanted.items() if inputs}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row shape of every output."""
        return {name: row_shape(spec) for name, spec in self.function.outputs.items()}

    def row(self, wrt: str) -> tuple[int, ...]:
        """Gives the row shape of an input."""
        return row_shape(self.function.inputs[wrt])

    @property
    def jvp_by_contraction(self) -> bool:
        """Whether the whole Jacobian is the way to a product with it: with one output number it is the cheapest."""
        return not self.two_sweeps or self._output_numbers == 1

    def sweeps(self, signature: str) -> int:
        """Says how many numbers a signature sweeps back from, by turns or in copies of the rows."""
        if signature in (contract.SERVING_DEFAULT, contract.HVP) or (
            signature == contract.JVP and self.jvp_by_contraction
        ):
            return self._output_numbers
        if signature == contract.HESSIAN:
            by = differentiated(self.wanted)
            return self._output_numbers * sum(prod(self.row(wrt)) for wrt in by)
        return 1

    def by_turns(self, signature: str) -> bool:
        """Whether a signature sweeps back by turns over one evaluation, and does not repeat the rows."""
        return not self.loops and 1 < self.sweeps(signature) <= MOST_SWEEPS and signature != contract.JVP

    def copies(self, signature: str) -> int:
        """Says how many times a signature repeats the rows that it is given."""
        return 1 if self.by_turns(signature) else self.sweeps(signature)

    @property
    def _output_numbers(self) -> int:
        return sum(prod(self.shapes[output]) for output in self.wanted)

    @property
    def seconds(self) -> dict[str, dict[str, dict[str, str]]]:
        """``{output: {first input: {second input: name of the second derivative}}}``, each pair once."""
        return contract.second_derivative_names(self.function.outputs, self.function.wrt)


def plan_of(function: Function, zeros: Collection[Pair], signatures: Iterable[str] | None = None) -> Plan:
    """Says what a package of a function is to hold.

    Args:
        function: what it computes.
        zeros: pairs (output, input) that are declared to be zero.
        signatures: which of `jvp`, `vjp`, `hvp` and `hessian`; the others are always there. By default all, but
            `hessian` only where the differentiated inputs are ``HESSIAN_NUMBERS`` numbers or fewer, and the second
            derivatives only where TensorFlow has them.

    Raises:
        ConversionError: a derivative is missing; see ``require_derivatives``.
        UsageError: names collide, a signature is unknown, or ``zeros`` does not fit.
    """
    names = contract.check_names(function.inputs, function.outputs, function.wrt)
    known = (*ALWAYS, *CHOSEN, contract.CARD)
    chosen = _by_default(function) if signatures is None else set(signatures)
    if unknown := chosen - set(known):
        raise UsageError(f"signatures {sorted(unknown)}, expected some of {', '.join(CHOSEN)}")
    support = require_derivatives(function, zeros)
    warnings = list(support.warnings)
    if support.without_second and (lost := [name for name in SECOND_ORDER if name in chosen]):
        reason = (
            f"{' and '.join(support.without_second)} on the way from the inputs to the first derivatives has no gradient in "
            "TensorFlow"
        )
        if signatures is not None:
            raise ConversionError(f"there is no {' and no '.join(lost)}: {reason}; leave it out of signatures")
        warnings.append(f"left out {' and '.join(lost)}: {reason}")
        chosen -= set(lost)
    chosen |= {*ALWAYS, contract.CARD}
    ordered = tuple(name for name in known if name in chosen)
    return Plan(function, names, frozenset(zeros), ordered, tuple(warnings), support.two_sweeps, support.loops)


def _by_default(function: Function) -> set[str]:
    numbers = sum(prod(row_shape(function.inputs[wrt])) for wrt in function.wrt)
    return {name for name in CHOSEN if name != contract.HESSIAN or numbers <= HESSIAN_NUMBERS}
