r"""Signatures that solve f(x) = target for one input, row by row, inside of its domain.

Newton's method, safeguarded by bisection (Press et al., "Numerical Recipes", 3rd edition (2007), 9.4, ``rtsafe``), for
all rows of a block at once, in a loop inside the graph. The ends of the domain are the first bracket. A Newton step is
taken where it stays inside of the bracket and is at most half of the step before the last; otherwise the bracket is
halved. Rows that take long are gathered after ``FIRST`` iterations, so that the others do not wait for them. Where the
ends do not bracket the target the same steps are tried, and the bracket follows Newton's direction: a root that they
find counts, as f may turn inside of the domain.

The derivatives are those of the implicit function theorem at the solution, from one reverse sweep over f there,

    dx/dtarget = 1 / (df/dx),    dx/dy = -(df/dy) / (df/dx),

so they are as exact as those of f, however many iterations there were.

A row has converged if its last step was below what x resolves and its residual is rounding:

    |f(x) - target| <= ROUNDING eps (|f| + |target| + sum_i |x_i df/dx_i|),

which is what rounding of the inputs makes of f, or, where a change of sign was bracketed, the tolerance on the card.
Every other row has NaN for x and its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, final

import numpy as np
import tensorflow as tf

from gradwire._errors import UsageError
from gradwire._numerics import eps_of
from gradwire._package import (
    BY_NAME,
    CONVERGED,
    RESIDUAL,
    SOLVE_FORM,
    Box,
    Domain,
    Solve,
    solve_name,
    solve_tensors,
)
from gradwire_export._derivatives import TensorFunction, Tensors, sweep_back
from gradwire_export._sources import Function, Pair, row_shape

FIRST: Final = 6  # iterations of all rows; most are solved by then
UNBRACKETED: Final = 32  # iterations of a row of which no change of sign is known
MOST: Final = 128  # iterations: bisection alone resolves a double in a domain of nine decades in 90
ROUNDING: Final = 8.0
SCALE_EPS: Final = 32.0  # the tolerance of a bracketed root, in eps of the output's scale
# A step below eps to this power of x is the last: the error after it is its square, times f''/2f'.
LAST_STEP: Final = 2 / 3


@dataclass(frozen=True)
class SolveSpec:
    """A signature that solves, and the domain of what it solves for."""

    solve: Solve
    lower: float
    upper: float

    def inputs(self, function: Function) -> dict[str, tf.TensorSpec]:
        """Return the specs of the signature's inputs: the target, and the other inputs of the model."""
        target = function.outputs[self.solve.output]
        others = {name: spec for name, spec in function.inputs.items() if name != self.solve.input}
        return {self.solve.output: tf.TensorSpec(target.shape, target.dtype, name=self.solve.output), **others}


def solve_specs(
    function: Function,
    pairs: Collection[Pair],
    domain: Mapping[str, Domain],
    zeros: Collection[Pair],
    scale_of: Callable[[str], float],
) -> dict[str, SolveSpec]:
    """Read the pairs (input, output) that a package is to solve, by the names of their signatures.

    ``scale_of`` returns the largest magnitude of an output in the domain. A UsageError names what there is not, what is
    not a scalar, and the input whose domain is not known.
    """
    specs: dict[str, SolveSpec] = {}
    for wrt, output in pairs:
        _require_pair(function, wrt, output, zeros)
        lower, upper = _bounds(function, wrt, output, domain)
        name = solve_name(wrt, output)
        if name in specs:
            raise UsageError(
                f"solve has {wrt}:{output} twice, or another pair whose signature is {name!r}: leave one out"
            )
        derivatives = solve_tensors(wrt, output, list(function.inputs), function.wrt)
        tolerance = SCALE_EPS * eps_of(function.outputs[output].dtype.name) * scale_of(output)
        specs[name] = SolveSpec(Solve(wrt, output, derivatives, tolerance), lower, upper)
    return specs


def _require_pair(function: Function, wrt: str, output: str, zeros: Collection[Pair]) -> None:
    if wrt not in function.wrt or output not in function.outputs:
        swapped = f": write {output}:{wrt}" if wrt in function.outputs and output in function.wrt else ""
        raise UsageError(
            f"solve names {wrt}:{output}, expected {SOLVE_FORM}, a differentiated input of {list(function.wrt)} and an "
            f"output of {list(function.outputs)}{swapped}"
        )
    for role, name, spec in (("input", wrt, function.inputs[wrt]), ("output", output, function.outputs[output])):
        if row_shape(spec) not in ((), (1,)):
            raise UsageError(
                f"solve names {role} {name!r}, whose rows are {row_shape(spec)}, expected a scalar: one equation determines "
                "one number"
            )
    if (output, wrt) in zeros:
        raise UsageError(f"solve names {wrt}:{output}, and zeros says that {output!r} does not depend on {wrt!r}")


def _bounds(function: Function, wrt: str, output: str, domain: Mapping[str, Domain]) -> tuple[float, float]:
    """Return the ends of an input's domain as its dtype has them."""
    if wrt not in domain:
        raise UsageError(f"solve names {wrt}:{output}, and the domain of {wrt!r} is not known: give one, {wrt}=0.1:1.9")
    spec = function.inputs[wrt]
    box = Box.read(wrt, (domain[wrt].lower, domain[wrt].upper), row_shape(spec))
    lower, upper = (float(bound.reshape(()).astype(BY_NAME[spec.dtype.name].numpy)) for bound in (box.lower, box.upper))
    if not lower < upper:
        raise UsageError(f"solve names {wrt}:{output}, and {wrt!r} is {lower} to {upper}, expected lower < upper")
    return lower, upper


def solve_body(function: Function, spec: SolveSpec, zeros: Collection[Pair], *, gathers: bool = True) -> TensorFunction:
    """Return what a signature that solves computes of its inputs; ``gathers`` where a loop may choose its rows."""

    def body(tensors: Tensors) -> Tensors:
        target = tf.reshape(tensors[spec.solve.output], [-1])
        others = {name: tensors[name] for name in function.inputs if name != spec.solve.input}
        equation = _Equation(function, spec, target, others)
        state = equation.iterate(equation.start(), 0, FIRST)
        state = (equation.iterate_slow_rows if gathers else equation.iterate)(state, FIRST, MOST)
        return _solution(equation, state, zeros)

    return body


class _State(NamedTuple):
    """Where each row stands, ``(rows,)`` each."""

    x: Any
    lower: Any  # the bracket
    upper: Any
    at_lower: Any  # f - target there
    at_upper: Any
    last: Any  # the length of the last step
    before: Any  # and of the one before
    done: Any

    @property
    def bracketed(self) -> Any:
        """Whether f - target changes its sign from one end of the bracket to the other."""
        return tf.sign(self.at_lower) * tf.sign(self.at_upper) < 0

    def where(self, condition: Any, other: _State) -> _State:
        """Return this where a condition holds, and the other elsewhere."""
        return _State(*(tf.where(condition, own, others) for own, others in zip(self, other, strict=True)))


@final
@dataclass(frozen=True)
class _Equation:
    """f(x, others) = target for some rows."""

    function: Function
    spec: SolveSpec
    target: Any  # (rows,)
    others: Tensors

    @property
    def eps(self) -> float:
        """The distance from 1 to the next number."""
        return eps_of(self.target.dtype.name)

    def column(self, x: Any) -> Any:
        """Return x, ``(rows,)``, in the form of the model's input."""
        return tf.reshape(x, [-1, *row_shape(self.function.inputs[self.spec.solve.input])])

    def value(self, x: Any) -> Any:
        """Return f of x, both ``(rows,)``."""
        tensors = {**self.others, self.spec.solve.input: self.column(x)}
        values = self.function.call({name: tensors[name] for name in self.function.inputs})
        return tf.reshape(values[self.spec.solve.output], [-1])

    def value_and_slope(self, x: Any) -> tuple[Any, Any]:
        """Return f and df/dx, ``(rows,)`` each."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            f = self.value(x)
        return f, tape.gradient(f, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def start(self) -> _State:
        """Return the state before the first iteration: the domain for a bracket, and its middle."""
        lower, upper = (tf.zeros_like(self.target) + end for end in (self.spec.lower, self.spec.upper))
        width = upper - lower
        at_lower, at_upper = (self.value(end) - self.target for end in (lower, upper))
        return _State(lower + width / 2, lower, upper, at_lower, at_upper, width, width, tf.math.is_nan(self.target))

    def iterate(self, state: _State, first: int, end: int) -> _State:
        """Iterate until all rows are done, from one iteration up to another."""
        _, *parts = tf.while_loop(
            lambda index, *parts: (index < end) & ~tf.reduce_all(_State(*parts).done),
            lambda index, *parts: (index + 1, *self.step(index, _State(*parts))),
            (tf.constant(first), *state),
            parallel_iterations=1,
        )
        return _State(*parts)

    def iterate_slow_rows(self, state: _State, first: int, end: int) -> _State:
        """Iterate on the rows alone that are not done."""
        rows = tf.where(~state.done)
        target, *others = (tf.gather(each, rows[:, 0]) for each in (self.target, *self.others.values()))
        slow = replace(self, target=target, others=dict(zip(self.others, others, strict=True)))
        improved = slow.iterate(_State(*(tf.gather(part, rows[:, 0]) for part in state)), first, end)
        return _State(
            *(tf.tensor_scatter_nd_update(part, rows, new) for part, new in zip(state, improved, strict=True))
        )

    def step(self, index: Any, state: _State) -> _State:
        """Take one step in every row that is not done."""
        f, slope = self.value_and_slope(state.x)
        g = f - self.target
        newton = state.x - g / slope
        bracket = _narrowed(state, g, newton)
        width = bracket.upper - bracket.lower
        away = tf.abs(newton - state.x)
        takes = (newton > bracket.lower) & (newton < bracket.upper) & (away <= state.before / 2)
        x = tf.where(takes, newton, bracket.lower + width / 2)
        # A step this short is taken though rounding may have it point out of the bracket. Near x = 0 the length that is
        # compared is the domain's, if f - target is rounding, too: f may be a logarithm there.
        is_short = away <= self.eps * (self.spec.upper - self.spec.lower)
        is_last = (away <= self.eps**LAST_STEP * tf.abs(state.x)) | (
            is_short & (tf.abs(g) <= self.spec.solve.tolerance)
        )
        x = tf.where(is_last, tf.clip_by_value(newton, self.spec.lower, self.spec.upper), x)
        is_narrow = width <= self.eps * tf.maximum(tf.abs(bracket.lower), tf.abs(bracket.upper))
        gives_up = ~bracket.bracketed & (index >= UNBRACKETED)
        nearer = tf.where(tf.abs(bracket.at_lower) <= tf.abs(bracket.at_upper), bracket.lower, bracket.upper)
        x = tf.where((is_narrow | gives_up) & ~is_last, nearer, x)
        is_exact = (tf.abs(g) <= self.eps * tf.abs(self.target)) | tf.math.is_nan(g)  # there is no way on from NaN
        x = tf.where(is_exact, state.x, x)
        done = is_last | is_narrow | gives_up | is_exact
        stepped = bracket._replace(x=x, last=tf.abs(x - state.x), before=state.last, done=done)
        return state.where(state.done, stepped)


def _narrowed(state: _State, g: Any, newton: Any) -> _State:
    """Return the bracket with x in the place of an end: that of g's sign, or the one that Newton's step moves from."""
    is_lower = tf.sign(g) == tf.sign(state.at_lower)
    moves_lower = tf.where(state.bracketed | ~is_lower, is_lower, newton > state.x)
    return state._replace(
        lower=tf.where(moves_lower, state.x, state.lower),
        upper=tf.where(moves_lower, state.upper, state.x),
        at_lower=tf.where(moves_lower, g, state.at_lower),
        at_upper=tf.where(moves_lower, state.at_upper, g),
    )


def _solution(equation: _Equation, state: _State, zeros: Collection[Pair]) -> Tensors:
    """Return the signature's outputs: x where it is a solution, its derivatives there, the residual, and the flag."""
    function, solve, target = equation.function, equation.spec.solve, equation.target
    x = {name: {**equation.others, solve.input: equation.column(state.x)}[name] for name in function.inputs}
    watched = [name for name in (solve.input, *solve.derivatives) if name in x and (solve.output, name) not in zeros]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x[name] for name in watched])
        values = function.call(x)[solve.output]
    gradients = sweep_back(tape, values, {name: x[name] for name in watched}, tf.ones_like(values))
    f, slope = tf.reshape(values, [-1]), tf.reshape(gradients[solve.input], [-1])
    residual = f - target
    felt = [_over_row(tf.reduce_sum, tf.abs(x[name] * gradient)) for name, gradient in gradients.items()]
    rounding = ROUNDING * equation.eps * (tf.abs(f) + tf.abs(target) + tf.add_n(felt))
    allowed = tf.where(state.bracketed, tf.maximum(rounding, solve.tolerance), rounding)
    converged = state.done & (tf.abs(residual) <= allowed) & tf.math.is_finite(residual)
    for other in equation.others.values():
        if other.dtype.is_floating:
            converged &= ~_over_row(tf.reduce_any, tf.math.is_nan(other))

    def solved(tensor: Any) -> Any:
        return tf.where(_like(converged, tensor), tensor, tf.constant(np.nan, tensor.dtype))

    target_row = row_shape(function.outputs[solve.output])
    derivatives = {
        tensor: tf.reshape(1 / slope, [-1, *target_row])
        if name == solve.output
        else -gradients[name] / _like(slope, gradients[name])
        if name in gradients
        else tf.zeros_like(x[name])
        for name, tensor in solve.derivatives.items()
    }
    return {
        solve.input: solved(x[solve.input]),
        **{name: solved(tensor) for name, tensor in derivatives.items()},
        RESIDUAL: tf.reshape(residual, [-1, *target_row]),
        CONVERGED: converged,
    }


def _over_row(reduce: Callable[..., Any], tensor: Any) -> Any:
    """Reduce a tensor over all axes but the batch."""
    return reduce(tensor, axis=list(range(1, tensor.shape.rank)))


def _like(rows: Any, tensor: Any) -> Any:
    """Return a number a row with as many axes as a tensor, to be broadcast over it."""
    return tf.reshape(rows, [-1, *(1 for _ in tensor.shape[1:])])
