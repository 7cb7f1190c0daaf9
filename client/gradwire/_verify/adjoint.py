"""Check 2: the signatures agree with one another.

Two ways of computing one number may differ by rounding alone. With s the deviation of rounding that was measured on
each side (``_noise``; at least eps times the number's largest magnitude), two numbers a and b agree if

    |a - b| ≤ 8 (s_a + s_b),

and two sums Σ p_i a_i and Σ q_j b_j, with p and q exact, if they differ by no more than

    8 ( Σ |p_i| s_a,i  +  Σ |q_j| s_b,j  +  eps (Σ |p_i a_i| + Σ |q_j b_j|) ).

Held against each other, with random tangents v, w and cotangents u:

- the outputs and first derivatives of every signature against those of `serving_default`;
- `jvp` against df·v, `vjp` against u·df, both with the df of `serving_default`;
- ⟨u, Jv⟩ against ⟨Jᵀu, v⟩, the first from `jvp` and the second from `vjp` alone: the dot-product test of every
  adjoint code (Claerbout, "Earth Soundings Analysis" (1992), 5; Griewank and Walther (2008), 3.4);
- Hv from `hvp` against `hessian` times v; ⟨w, Hv⟩ against ⟨v, Hw⟩; and the Hessian against its own transpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradwire._numerics import SAFETY, flat_rows, sample_directions, worst_ratio
from gradwire._package import HESSIAN, HVP, JVP, VALUE, VJP, cotangent_name, tangent_name
from gradwire._verify.evaluations import matrix
from gradwire._verify.probe import measure_at
from gradwire._verify.result import Finding
from gradwire._verify.taylor_second import hessian_along

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gradwire._verify.evaluations import Answers
    from gradwire._verify.probe import Pair

    Floats = NDArray[np.float64]


def agreement(answers: Answers) -> Iterator[Finding]:
    """Holds the signatures of a model against one another; yields nothing where there is only one."""
    yield from _same_tensors(answers)
    if JVP in answers.others:
        yield from _jvp(answers)
    if VJP in answers.others:
        yield from _vjp(answers)
    if JVP in answers.others and VJP in answers.others:
        yield _dot_product(answers)
    if HVP in answers.others and HESSIAN in answers.others:
        yield from _hvp_against_hessian(answers)
    if HVP in answers.others:
        yield from _hvp_symmetric(answers)
    if HESSIAN in answers.others:
        yield from _hessian_symmetric(answers)


def _same_tensors(answers: Answers) -> Iterator[Finding]:
    """The tensors that a signature shares with `serving_default`; one line a signature, its worst."""
    others = dict(answers.others)
    if answers.subject.has(VALUE):
        others[VALUE] = answers.subject.measure(VALUE)
    for name, other in others.items():
        shared = [tensor for tensor in other.values if tensor in answers.default.values]
        worst = {
            tensor: worst_ratio(
                other.values[tensor],
                answers.default.values[tensor],
                SAFETY * (other.noise[tensor] + answers.default.noise[tensor]),
            )
            for tensor in shared
        }
        if worst:
            tensor = max(worst, key=lambda key: worst[key])
            text = f"{', '.join(shared)} of {name} against serving_default"
            yield Finding(text, worst[tensor], tensor if worst[tensor] > 1 else "")


def _jvp(answers: Answers) -> Iterator[Finding]:
    found, eps = answers.others[JVP], answers.subject.eps
    for output in answers.subject.card.outputs:
        name = tangent_name(output.name)
        if name not in found.values:
            continue
        expected, allowed = np.zeros_like(found.values[name]), found.noise[name].copy()
        for pair in (pair for pair in answers.subject.pairs() if pair.output.name == output.name):
            df, v = answers.jacobian(pair), answers.v(pair.input.name)
            with np.errstate(all="ignore"):
                expected += np.einsum("pmn,pn->pm", df, v)
                size = answers.jacobian_noise(pair) + eps * np.abs(df)
                allowed += np.einsum("pmn,pn->pm", size, np.abs(v))
        worst = worst_ratio(found.values[name], expected, SAFETY * allowed)
        yield Finding(f"{name} of jvp against df·v of serving_default", worst, name)


def _vjp(answers: Answers) -> Iterator[Finding]:
    found, eps = answers.others[VJP], answers.subject.eps
    for wrt in answers.subject.v:
        name = cotangent_name(wrt)
        if name not in found.values:
            continue
        expected, allowed = np.zeros_like(found.values[name]), found.noise[name].copy()
        for pair in (pair for pair in answers.subject.pairs() if pair.input.name == wrt):
            df, u = answers.jacobian(pair), answers.u[pair.output.name]
            with np.errstate(all="ignore"):
                expected += np.einsum("pmn,pm->pn", df, u)
                size = answers.jacobian_noise(pair) + eps * np.abs(df)
                allowed += np.einsum("pmn,pm->pn", size, np.abs(u))
        worst = worst_ratio(found.values[name], expected, SAFETY * allowed)
        yield Finding(f"{name} of vjp against u·df of serving_default", worst, name)


def _dot_product(answers: Answers) -> Finding:
    jvp, vjp, eps = answers.others[JVP], answers.others[VJP], answers.subject.eps
    points = len(next(iter(answers.u.values())))
    left, right, allowed = np.zeros(points), np.zeros(points), np.zeros(points)
    with np.errstate(all="ignore"):
        for output, u in answers.u.items():
            name = tangent_name(output)
            if name in jvp.values:
                left += (u * jvp.values[name]).sum(axis=1)
                allowed += (np.abs(u) * (jvp.noise[name] + eps * np.abs(jvp.values[name]))).sum(axis=1)
        for wrt in answers.subject.v:
            name, v = cotangent_name(wrt), answers.v(wrt)
            if name in vjp.values:
                right += (v * vjp.values[name]).sum(axis=1)
                allowed += (np.abs(v) * (vjp.noise[name] + eps * np.abs(vjp.values[name]))).sum(axis=1)
    return Finding("⟨u, Jv⟩ of jvp = ⟨Jᵀu, v⟩ of vjp", worst_ratio(left, right, SAFETY * allowed))


def _hvp_against_hessian(answers: Answers) -> Iterator[Finding]:
    hvp = answers.others[HVP]
    exact = hessian_along(answers, HESSIAN)
    size = _hessian_size(answers)
    for pair in answers.subject.pairs():
        name = tangent_name(pair.tensor)
        allowed = SAFETY * (hvp.noise[name] + size[pair.tensor])
        worst = worst_ratio(hvp.values[name], exact[pair.tensor], allowed)
        yield Finding(f"{name} of hvp against the hessian times v", worst, name)


def _hessian_size(answers: Answers) -> dict[str, Floats]:
    """Rounding of the Hessian times v: Σ (s + eps |H|) |v|, by first derivative's tensor."""
    found, eps, size = answers.others[HESSIAN], answers.subject.eps, dict[str, "Floats"]()
    for pair in answers.subject.pairs():
        points, m, n = answers.jacobian(pair).shape
        total = np.zeros((points, m, n))
        for first, by in answers.subject.card.second_derivatives.get(pair.output.name, {}).items():
            for second, name in by.items():
                block = found.noise[name] + eps * np.abs(found.values[name])
                if first == pair.input.name:
                    total += np.einsum("pmij,pj->pmi", block.reshape(points, m, n, -1), np.abs(answers.v(second)))
                elif second == pair.input.name:
                    total += np.einsum("pmij,pi->pmj", block.reshape(points, m, -1, n), np.abs(answers.v(first)))
        size[pair.tensor] = total.reshape(points, -1)
    return size


def _hvp_symmetric(answers: Answers) -> Iterator[Finding]:
    """⟨w, Hv⟩ = ⟨v, Hw⟩ with a second direction w, an output at a time."""
    subject, eps = answers.subject, answers.subject.eps
    points = len(next(iter(subject.x.values())))
    w = {name: sample_directions(subject.boxes[name], points, subject.rng) for name in subject.v}
    tangents = {tangent_name(name): array.astype(subject.x[name].dtype) for name, array in w.items()}
    along_v, along_w = answers.others[HVP], measure_at(subject, HVP, subject.x, tangents)
    for output in subject.card.outputs:
        pairs = [pair for pair in subject.pairs() if pair.output.name == output.name]
        left, right, allowed = 0.0, 0.0, 0.0
        with np.errstate(all="ignore"):
            for pair in pairs:
                hv, s_v = _rows(along_v.values, pair), _rows(along_v.noise, pair)
                hw, s_w = _rows(along_w.values, pair), _rows(along_w.noise, pair)
                v, w_here = answers.v(pair.input.name)[:, None], flat_rows(w[pair.input.name])[:, None]
                left, right = left + (w_here * hv).sum(axis=2), right + (v * hw).sum(axis=2)
                sizes = np.abs(w_here) * (s_v + eps * np.abs(hv)) + np.abs(v) * (s_w + eps * np.abs(hw))
                allowed = allowed + sizes.sum(axis=2)
        if pairs:
            worst = worst_ratio(np.asarray(left), np.asarray(right), SAFETY * np.asarray(allowed))
            yield Finding(f"⟨w, Hv⟩ = ⟨v, Hw⟩ of {output.name}, by hvp", worst)


def _rows(tensors: Mapping[str, Floats], pair: Pair) -> Floats:
    return matrix(tensors[tangent_name(pair.tensor)], pair)


def _hessian_symmetric(answers: Answers) -> Iterator[Finding]:
    found = answers.others[HESSIAN]
    for pair in answers.subject.pairs():
        name = (
            answers.subject.card.second_derivatives.get(pair.output.name, {})
            .get(pair.input.name, {})
            .get(pair.input.name)
        )
        points, m, n = answers.jacobian(pair).shape
        if name is None or n == 1:
            continue
        h, s = (part[name].reshape(points, m, n, n) for part in (found.values, found.noise))
        worst = worst_ratio(h, h.swapaxes(2, 3), SAFETY * (s + s.swapaxes(2, 3)))
        yield Finding(f"{name} against its transpose", worst, name)
