"""The signatures agree with one another.

Two ways of computing the same number may differ by rounding alone. With s the standard deviation of rounding that was
measured on each side (``_numerics/noise.py``; at least eps times the largest magnitude), a and b agree if

    |a - b| ≤ 8 (s_a + s_b),

and two sums Σ p_i a_i and Σ q_j b_j, with p and q exact, if they differ by no more than

    8 ( Σ |p_i| s_a,i  +  Σ |q_j| s_b,j  +  eps (Σ |p_i a_i| + Σ |q_j b_j|) ).

Compared, with random tangents v, w and cotangents u:

- the outputs and first derivatives of every signature with those of `serving_default`;
- `jvp` with df·v, `vjp` with u·df, both with the df of `serving_default`;
- ⟨u, Jv⟩ with ⟨Jᵀu, v⟩, the first from `jvp` and the second from `vjp` alone: the dot-product test of every
  adjoint code (Claerbout, "Earth Soundings Analysis" (1992), 5; Griewank and Walther (2008), 3.4);
- Hv from `hvp` with `hessian` times v; ⟨w, Hv⟩ with ⟨v, Hw⟩; and the Hessian with its own transpose.

Error bars are finite where what they belong to is, and not negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics import SAFETY, flat_rows, sample_directions, worst_ratio
from gradwire._package import (
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    UNCERTAINTY,
    VJP,
    cotangent_name,
    std_name,
    tangent_name,
)
from gradwire._verify.evaluations import SignatureEvaluations, contract
from gradwire._verify.probe import Derivative
from gradwire._verify.result import Finding

Floats = NDArray[np.float64]


def agreement(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Compare the signatures of a model with one another; yield nothing where there is only one."""
    present = evaluations.by_signature.keys()
    yield from _same_tensors(evaluations)
    if JVP in present:
        yield from _jvp(evaluations)
    if VJP in present:
        yield from _vjp(evaluations)
    if {JVP, VJP} <= present:
        yield _dot_product(evaluations)
    if {HVP, HESSIAN} <= present:
        yield from _hvp_against_hessian(evaluations)
    if HVP in present:
        yield from _hvp_symmetric(evaluations)
    if HESSIAN in present:
        yield from _hessian_symmetric(evaluations)
    if UNCERTAINTY in present:
        yield from _bars(evaluations)


def _same_tensors(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """The tensors that a signature shares with `serving_default`; one line a signature, its worst."""
    default = evaluations.default
    for name, other in evaluations.by_signature.items():
        worst = {
            tensor: worst_ratio(values, default.values[tensor], SAFETY * (other.noise[tensor] + default.noise[tensor]))
            for tensor, values in other.values.items()
            if tensor in default.values
        }
        if worst and name != SERVING_DEFAULT:
            tensor = max(worst, key=lambda key: worst[key])
            text = f"{', '.join(worst)} of {name} against serving_default"
            yield Finding(text, worst[tensor], tensor if worst[tensor] > 1 else "", signatures=(name,))


def _bars(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Error bars are finite where what they belong to is, and not negative."""
    bars, default = evaluations.by_signature[UNCERTAINTY].values, evaluations.default.values
    wrong = {
        name: int(((~np.isfinite(bars[name]) | (bars[name] < 0)) & np.isfinite(default[tensor])).any(axis=1).sum())
        for tensor in default
        if (name := std_name(tensor)) in bars
    }
    worst = max(wrong, key=lambda name: wrong[name], default="")
    note = f"{wrong[worst]} points are not" if worst and wrong[worst] else ""
    failed = bool(note)
    text = f"{UNCERTAINTY}: finite and not negative"
    yield Finding(text, math.inf if failed else 0.0, worst if failed else "", note, signatures=(UNCERTAINTY,))


def _jvp(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    for output in evaluations.probe.card.outputs:
        name = tangent_name(output.name)
        terms = [
            (each, evaluations.v(each.input.name))
            for each in evaluations.probe.derivatives()
            if each.output.name == output.name
        ]
        if name in evaluations.by_signature[JVP].values:
            worst = _against_jacobian(evaluations, JVP, name, terms, "pmn,pn->pm")
            yield Finding(f"{name} of jvp against df·v of serving_default", worst, name, signatures=(JVP,))


def _vjp(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    for wrt in evaluations.probe.v:
        name = cotangent_name(wrt)
        terms = [
            (each, evaluations.u[each.output.name])
            for each in evaluations.probe.derivatives()
            if each.input.name == wrt
        ]
        if name in evaluations.by_signature[VJP].values:
            worst = _against_jacobian(evaluations, VJP, name, terms, "pmn,pm->pn")
            yield Finding(f"{name} of vjp against u·df of serving_default", worst, name, signatures=(VJP,))


def _against_jacobian(
    evaluations: SignatureEvaluations,
    signature: str,
    name: str,
    terms: Iterable[tuple[Derivative, Floats]],
    subscripts: str,
) -> float:
    """Compare a product that a signature computes with the sum of first derivatives times vectors."""
    product, eps = evaluations.by_signature[signature], evaluations.probe.eps
    expected, allowed = np.zeros_like(product.values[name]), product.noise[name].copy()
    for derivative, vector in terms:
        df = evaluations.jacobian(derivative)
        with np.errstate(all="ignore"):
            expected += np.einsum(subscripts, df, vector)
            rounding = evaluations.jacobian_noise(derivative) + eps * np.abs(df)
            allowed += np.einsum(subscripts, rounding, np.abs(vector))
    return worst_ratio(product.values[name], expected, SAFETY * allowed)


@final
class _Sum:
    """A sum Σ p_i a_i over the last axis, with p exact and a rounded, and the rounding that it may have."""

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.value: Floats = np.zeros(1)
        self.rounding: Floats = np.zeros(1)

    def add(self, p: Floats, a: Floats, noise: Floats) -> None:
        with np.errstate(all="ignore"):
            self.value = self.value + (p * a).sum(axis=-1)
            self.rounding = self.rounding + (np.abs(p) * (noise + self.eps * np.abs(a))).sum(axis=-1)

    def compare(self, other: _Sum) -> float:
        return worst_ratio(self.value, other.value, SAFETY * (self.rounding + other.rounding))


def _dot_product(evaluations: SignatureEvaluations) -> Finding:
    jvp, vjp = (evaluations.by_signature[name] for name in (JVP, VJP))
    left, right = _Sum(evaluations.probe.eps), _Sum(evaluations.probe.eps)
    for output, u in evaluations.u.items():
        name = tangent_name(output)
        if name in jvp.values:
            left.add(u, jvp.values[name], jvp.noise[name])
    for wrt in evaluations.probe.v:
        name = cotangent_name(wrt)
        if name in vjp.values:
            right.add(evaluations.v(wrt), vjp.values[name], vjp.noise[name])
    return Finding("⟨u, Jv⟩ of jvp = ⟨Jᵀu, v⟩ of vjp", left.compare(right), signatures=(JVP, VJP))


def _hvp_against_hessian(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    hvp, hessian, eps = evaluations.by_signature[HVP], evaluations.by_signature[HESSIAN], evaluations.probe.eps
    expected = evaluations.hessian_times_v(HESSIAN)
    rounding = {name: hessian.noise[name] + eps * np.abs(h) for name, h in hessian.values.items()}
    sizes = {name: np.abs(evaluations.v(name)) for name in evaluations.probe.v}
    for each in evaluations.probe.derivatives():
        name = tangent_name(each.tensor)
        allowed = SAFETY * (hvp.noise[name] + contract(evaluations.probe.card, each, rounding, sizes))
        worst = worst_ratio(hvp.values[name], expected[each.tensor], allowed)
        yield Finding(f"{name} of hvp against the hessian times v", worst, name, signatures=(HVP, HESSIAN))


def _hvp_symmetric(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """⟨w, Hv⟩ = ⟨v, Hw⟩ with a second direction w, an output at a time."""
    probe = evaluations.probe
    points = len(next(iter(probe.x.values())))
    w = {name: sample_directions(probe.boxes[name], points, probe.rng) for name in probe.v}
    tangents = {tangent_name(name): array.astype(probe.x[name].dtype) for name, array in w.items()}
    along_v, along_w = evaluations.by_signature[HVP], probe.measure(HVP, tangents)
    for output in probe.card.outputs:
        left, right = _Sum(probe.eps), _Sum(probe.eps)
        derivatives = [each for each in probe.derivatives() if each.output.name == output.name]
        for each in derivatives:
            name, wrt = tangent_name(each.tensor), each.input.name
            left.add(flat_rows(w[wrt])[:, None], each.blocks(along_v.values[name]), each.blocks(along_v.noise[name]))
            right.add(evaluations.v(wrt)[:, None], each.blocks(along_w.values[name]), each.blocks(along_w.noise[name]))
        if derivatives:
            yield Finding(f"⟨w, Hv⟩ = ⟨v, Hw⟩ of {output.name}, from hvp", left.compare(right), signatures=(HVP,))


def _hessian_symmetric(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    hessian = evaluations.by_signature[HESSIAN]
    for each in evaluations.probe.derivatives():
        by_first = evaluations.probe.card.second_derivatives.get(each.output.name, {})
        name = by_first.get(each.input.name, {}).get(each.input.name)
        points, m, n = evaluations.jacobian(each).shape
        if name is None or n == 1:
            continue
        h, s = (part[name].reshape(points, m, n, n) for part in (hessian.values, hessian.noise))
        worst = worst_ratio(h, h.swapaxes(2, 3), SAFETY * (s + s.swapaxes(2, 3)))
        yield Finding(f"{name} against its transpose", worst, name, signatures=(HESSIAN,))
