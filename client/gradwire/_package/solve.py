"""Signatures that solve: the input at which an output has a target value, with its derivatives (docs/solve.md).

A package has one for each pair of an input and an output that export was told of. Their names and tensors depend on the
pair, so that they are on the card, and not in the contract's table of signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradwire._errors import UsageError
from gradwire._package.contract import Signature, TensorSpec, derivative_name, derivative_shape

RESIDUAL: Final = "residual"  # output of a signature that solves: f(x) - target
CONVERGED: Final = "converged"  # output of a signature that solves: whether x is a solution, a bool a row
SOLVE_FORM: Final = "INPUT:OUTPUT, such as vol:price"


@dataclass(frozen=True, slots=True)
class Solve:
    """What a signature solves: output = target, for one input, inside of that input's domain.

    Attributes:
        input: what is solved for, a scalar.
        output: what has the target value, a scalar; the signature's input of this name is the target.
        derivatives: the tensors of the input's derivatives, by what it is differentiated with respect to: the output,
            which stands for the target, and every other differentiated input.
        tolerance: the largest residual that counts as rounding, in the output's unit, wherever the input lies.
    """

    input: str
    output: str
    derivatives: Mapping[str, str]
    tolerance: float

    @property
    def outputs(self) -> tuple[str, ...]:
        """The signature's outputs in the order in which they are shown."""
        return (self.input, *self.derivatives.values(), RESIDUAL, CONVERGED)


def solve_name(wrt: str, output: str) -> str:
    """Name the signature that solves for an input: ``solve_vol_from_price``."""
    return f"solve_{wrt}_from_{output}"


def solve_tensors(wrt: str, output: str, inputs: Sequence[str], differentiated: Sequence[str]) -> dict[str, str]:
    """Name the derivatives of an input that is solved for, and check that all its tensors have names of their own.

    Args:
        wrt: the input.
        output: what has the target value.
        inputs: of the model.
        differentiated: those of them that are differentiated.

    Returns:
        ``{output or other input: name of the derivative}``.

    Raises:
        UsageError: two tensors would have one name.
    """
    others = [name for name in inputs if name != wrt]
    of = (output, *(name for name in others if name in differentiated))
    derivatives = {name: derivative_name(wrt, name) for name in of}
    names = [output, *others, wrt, *derivatives.values(), RESIDUAL, CONVERGED]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"solving for {wrt!r} from {output!r}: two tensors would be called {twice[0]!r}, expected names of their own "
            f"beside {RESIDUAL!r} and {CONVERGED!r}: rename the model's, --inputs NEW={twice[0]}"
        )
    return derivatives


def solve_signature(
    name: str, solve: Solve, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]
) -> Signature:
    """Return the tensors of a signature that solves.

    Args:
        name: of the signature.
        solve: what it solves.
        inputs: of the model by name.
        outputs: of the model by name.
    """
    x, target = inputs[solve.input], outputs[solve.output]
    takes = {target.name: target} | {other: spec for other, spec in inputs.items() if other != x.name}
    derivatives = {
        tensor: TensorSpec(tensor, x.dtype, (None, *derivative_shape(_row(x), _row(takes[of]))))
        for of, tensor in solve.derivatives.items()
    }
    flags = {
        RESIDUAL: TensorSpec(RESIDUAL, target.dtype, target.shape),
        CONVERGED: TensorSpec(CONVERGED, "bool", (None,)),
    }
    return Signature(name, takes, {x.name: x} | derivatives | flags)


def solves_of(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Solve]:
    """Return what signatures solve from plain data, as cards hold it.

    Args:
        entries: ``{signature: {"input": …, "output": …, "derivatives": {…}, "tolerance": …}}``.
    """
    return {
        name: Solve(entry["input"], entry["output"], dict(entry["derivatives"]), float(entry["tolerance"]))
        for name, entry in entries.items()
    }


def _row(spec: TensorSpec) -> tuple[int, ...]:
    return spec.least_row_shape
