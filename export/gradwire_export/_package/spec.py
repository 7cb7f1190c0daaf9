"""What a package holds: which function, which derivatives, which signatures, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire._package import (
    CARD,
    HESSIAN,
    HVP,
    SIGNATURES,
    UNCERTAINTY,
    Alias,
    Part,
    check_names,
    cotangent_name,
    second_derivative_names,
    tangent_name,
)
from gradwire_export._analysis import Support, has_second_products, jacobian_structure, require_derivatives
from gradwire_export._derivatives import (
    Blocks,
    Differentiable,
    Plan,
    RepeatedRows,
    SeparateSweeps,
    Strategy,
    Structure,
)
from gradwire_export._gradients import with_visible_graph
from gradwire_export._package.plans import Plans, cheapest_plans, listed
from gradwire_export._package.solve import SolveSpec
from gradwire_export._sources import Function, Pair, row_shape

OPTIONAL: Final = tuple(kind.name for kind in SIGNATURES.values() if kind.optional)
# Second derivatives repeat the rows for each input element; up to here that is cheap enough to be in by default.
MAX_HESSIAN_INPUT: Final = 16
# Each is a copy of the backward graph to trace and load; at 32 they still took a sixth of what copies of the rows take.
MAX_SWEEPS: Final = 32
SOLVE_REPEATS: Final = 8  # what an iteration holds besides f: smaller blocks wait less for their slowest rows


@dataclass(frozen=True)
class PackageSpec:
    """What a package holds."""

    function: Function  # its rows must be independent
    derivatives: dict[str, dict[str, str]]  # {output: {input: name of the first derivative}}, declared zeros too
    zeros: frozenset[Pair]  # pairs (output, input) that are not connected and declared to be zero
    signatures: tuple[str, ...]  # their names, in the order of the contract's table
    aliases: Mapping[str, Alias] = field(default_factory=dict[str, Alias])  # those of the derivatives that it serves
    solves: Mapping[str, SolveSpec] = field(default_factory=dict[str, SolveSpec])  # by signature, beside the others
    warnings: tuple[str, ...] = ()  # what its user must know, a line each
    two_sweeps: bool = True  # one reverse sweep can be taken over another
    loops: bool = False
    plans: Plans | None = None  # which derivatives are swept back and which pushed forward; by default all are swept
    structure: Structure = field(default_factory=dict[Pair, np.ndarray])  # of first derivatives that have zeros
    stds: Function | None = None  # of the inputs: the standard deviations of outputs and derivatives, where known
    xla: bool = False
    nan_guard: bool = False  # a row of which an input is NaN has NaN in every output

    def without(self, unproven: Collection[str]) -> PackageSpec:
        """Return what is left without some optional signatures."""
        signatures = tuple(name for name in self.signatures if name not in unproven)
        solves = {name: solve for name, solve in self.solves.items() if name not in unproven}
        return replace(self, signatures=signatures, solves=solves)

    @property
    def row_signatures(self) -> list[str]:
        """The signatures of the contract's table that compute something of rows: all but the card."""
        return [name for name in self.signatures if name != CARD]

    @property
    def second_derivatives(self) -> dict[str, dict[str, dict[str, str]]]:
        """``{output: {first input: {second input: name}}}``, each pair once; empty if no signature has them."""
        if not any(Part.SECOND_DERIVATIVES in SIGNATURES[name].gives for name in self.signatures):
            return {}
        return second_derivative_names(self.function.outputs, self.function.wrt)

    @property
    def differentiable(self) -> Differentiable:
        """The function, and the derivatives of it that are not zero by declaration; no output without any."""
        differentiated = {
            output: [wrt for wrt in by_input if (output, wrt) not in self.zeros]
            for output, by_input in self.derivatives.items()
        }
        return Differentiable(
            self.function.call,
            {output: inputs for output, inputs in differentiated.items() if inputs},
            {output: self.output_shape(output) for output in self.function.outputs},
        )

    def output_shape(self, output: str) -> tuple[int, ...]:
        """Return the row shape of an output."""
        return row_shape(self.function.outputs[output])

    def input_shape(self, wrt: str) -> tuple[int, ...]:
        """Return the row shape of an input."""
        return row_shape(self.function.inputs[wrt])

    def directions(self, part: Part) -> dict[str, tf.TensorSpec]:
        """Return the specs of the tangents of the differentiated inputs, or of the cotangents of the outputs."""
        if part is Part.TANGENTS:
            named = {tangent_name(wrt): self.function.inputs[wrt] for wrt in self.function.wrt}
        else:
            named = {cotangent_name(output): spec for output, spec in self.function.outputs.items()}
        return {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in named.items()}

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Return the specs of a signature's inputs, the model's own first; any signature but the card."""
        if signature in self.solves:
            return self.solves[signature].inputs(self.function)
        part = SIGNATURES[signature].direction
        return self.function.inputs | ({} if part is None else self.directions(part))

    @property
    def jvp_by_contraction(self) -> bool:
        """Whether a product with the Jacobian is had from the whole of it: for a scalar output that is cheapest."""
        return not self.two_sweeps or self.differentiable.size == 1

    def plan(self, signature: str) -> Plan:
        """Return which elements a signature sweeps back from, and which it pushes forward."""
        if self.plans is None:
            return Plan.of_every_element(self.differentiable.sizes)
        return {HVP: self.plans.hvp, HESSIAN: self.plans.hessian}.get(signature, self.plans.first)

    def strategy(self, signature: str) -> Strategy:
        """Return how a signature takes its reverse sweeps and forward products.

        Separate sweeps are quicker but for loops and for more than ``MAX_SWEEPS``; a Jacobian that is contracted at
        once comes from repeated rows.
        """
        whole = Part.DERIVATIVES in SIGNATURES[signature].gives
        separate = whole and not self.loops and 1 < self.n_sweeps(signature) <= MAX_SWEEPS
        return (SeparateSweeps if separate else RepeatedRows)(self.plan(signature))

    def n_sweeps(self, signature: str) -> int:
        """Return from how many groups of elements a signature sweeps back or pushes forward."""
        gives, plan = SIGNATURES[signature].gives, self.plan(signature)
        if Part.SECOND_DERIVATIVES in gives:
            n_inner = sum(prod(self.input_shape(wrt)) for wrt in self.differentiable.wrt)
            return len(plan.forward) ** 2 or len(plan.backward) * n_inner
        if Part.DERIVATIVES in gives:
            return plan.n_sweeps
        if Part.OUTPUT_TANGENTS in gives and self.jvp_by_contraction:
            return self.differentiable.size
        return 1

    @property
    def jacobian(self) -> dict[str, Any]:
        """What the card says of how derivatives are computed."""
        whole = [name for name in self.row_signatures if Part.DERIVATIVES in SIGNATURES[name].gives]
        return {
            "sweeps": {
                name: {
                    "strategy": self.strategy(name).name,
                    "reverse": len(self.plan(name).backward),
                    "forward": len(self.plan(name).forward),
                }
                for name in whole
            },
            "structure": listed(self.structure),
        }

    def n_repeats(self, signature: str) -> int:
        """Return how often a signature repeats its rows."""
        if signature in self.solves:
            return SOLVE_REPEATS
        return self.strategy(signature).n_repeats(self.n_sweeps(signature))


def package_spec(
    function: Function,
    zeros: Collection[Pair],
    signatures: Iterable[str] | None = None,
    *,
    stds: Function | None = None,
    no_stds: str = "nothing is known of its errors",
) -> PackageSpec:
    """Decide what the package of a function holds, of the optional signatures these.

    By default all, but `hessian` only where the differentiated inputs have ``MAX_HESSIAN_INPUT`` elements or fewer, and
    second derivatives only where TensorFlow has them, and `uncertainty` only where there are standard deviations; else
    ``no_stds`` says why not. Raises what ``require_derivatives`` does.
    """
    derivatives = check_names(function.inputs, function.outputs, function.wrt)
    chosen = _by_default(function, has_stds=stds is not None) if signatures is None else set(signatures)
    if unknown := chosen - set(SIGNATURES):
        raise UsageError(f"signatures {sorted(unknown)}, expected some of {', '.join(OPTIONAL)}")
    if UNCERTAINTY in chosen and stds is None:
        raise ConversionError(f"there is no {UNCERTAINTY}: {no_stds}; leave it out of signatures")
    function = with_visible_graph(function)
    support = require_derivatives(function, zeros)
    warnings = list(support.warnings)
    lost = [name for name in OPTIONAL if name in chosen and SIGNATURES[name].order > 1]
    if support.without_second and lost:
        reason = (
            f"{' and '.join(support.without_second)} on the way from the inputs to the first derivatives has no gradient "
            "in TensorFlow"
        )
        if signatures is not None:
            raise ConversionError(f"there is no {' and no '.join(lost)}: {reason}; leave it out of signatures")
        warnings.append(f"left out {' and '.join(lost)}: {reason}")
        chosen -= set(lost)
    names = tuple(kind.name for kind in SIGNATURES.values() if not kind.optional or kind.name in chosen)
    spec = PackageSpec(
        function,
        derivatives,
        frozenset(zeros),
        names,
        warnings=tuple(warnings),
        two_sweeps=support.two_sweeps,
        loops=support.loops,
        stds=stds if UNCERTAINTY in chosen else None,
    )
    return _planned(spec, support)


def _planned(spec: PackageSpec, support: Support) -> PackageSpec:
    """Choose for each derivative the side from which it is cheaper."""
    function, known = spec.differentiable, dict[Pair, np.ndarray]()
    inputs = {wrt: prod(spec.input_shape(wrt)) for wrt in function.wrt}
    if function.size > 1 and sum(inputs.values()) > 1:
        known = dict(jacobian_structure(spec.function))
    structure = {pair: entries for pair, entries in known.items() if pair not in spec.zeros}
    second = any(SIGNATURES[name].order > 1 for name in spec.signatures)
    plans = cheapest_plans(
        Blocks(function.differentiated, function.sizes, inputs, structure),
        loops=spec.loops,
        products=support.two_sweeps,
        second_products=lambda: second and has_second_products(spec.function, function),
    )
    return replace(spec, plans=plans, structure=structure)


def _by_default(function: Function, *, has_stds: bool) -> set[str]:
    size = sum(prod(row_shape(function.inputs[wrt])) for wrt in function.wrt)
    return {
        name
        for name in OPTIONAL
        if (name != UNCERTAINTY or has_stds)
        and (Part.SECOND_DERIVATIVES not in SIGNATURES[name].gives or size <= MAX_HESSIAN_INPUT)
    }
