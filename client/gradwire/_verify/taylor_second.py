"""Check 1, second order: the Taylor test with the Hessian, and the gradient's own Taylor test.

Along a direction v that moves every differentiated input at once, so that mixed derivatives count:

1. df itself is a function whose derivative along v is Hv: ``df(x + hv) - df(x) - h Hv`` is judged like the remainder
   of check 1 (``_first``). This is the sharper of the two, for it loses only s/h to rounding.
2. The remainder of third order, ``f(x + hv) - f(x) - h df·v - h²/2 v·Hv``, must fall as h³: slope at least 2.6, with a
   wrong Hessian it is 2; and v·Hv must agree with the second difference ``(f(x + hv) - 2 f(x) + f(x - hv)) / h²`` up to

       8 ( |D(2h) - D(h)| / 3  +  √6 s / h²  +  eps |v·Hv| )

   at the step where that is smallest, if differences settle there (no kink within it). Rounding leaves of this some five digits in float64 and none to two in float32:
   then the slope is "all rounding".

H comes from `hessian`, from `hvp`, or from both, each tested by itself. Directions, points and steps are such that
x + hv is exact (``_sampling``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._numerics import SAFETY, Remainders, largest, multiples, reach
from gradwire._package import HESSIAN, HVP, SERVING_DEFAULT, tangent_name
from gradwire._verify.evaluations import matrix
from gradwire._verify.result import Finding
from gradwire._verify.taylor import LEAST_SLOPE, LONGEST_STEP, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gradwire._package import CardTensor
    from gradwire._verify.evaluations import Answers
    from gradwire._verify.probe import Pair, Subject

    Floats = NDArray[np.float64]

LEAST_THIRD_SLOPE: Final = 2.6  # 3 when the Hessian is right, 2 when it is wrong
_ENOUGH: Final = 0.25  # of the points: where kinks leave fewer, nothing is said of the third order
_CONSPIRING: Final = 0.05  # of the points; one in some 4,000 was seen, on ReLU networks in float32
_SECOND_NOISE: Final = math.sqrt(6.0)  # of the weights 1, -2, 1


def second_order(answers: Answers) -> Iterator[Finding]:
    """Makes the Taylor tests of second order, with each signature that tells the Hessian."""
    sources = [name for name in (HESSIAN, HVP) if name in answers.others]
    if not sources:
        return
    subject = answers.subject
    steps, moved = _moved(subject)
    each = moved_values(subject, steps)
    for source in sources:
        along = hessian_along(answers, source)
        for pair in subject.pairs():
            yield _gradient(subject, pair, each[pair.tensor], along[pair.tensor], steps, moved, source)
        for output in subject.card.outputs:
            yield _third_order(answers, output, each[output.name], along, steps, source)


def hessian_along(answers: Answers, source: str) -> dict[str, Floats]:
    """The Hessian times v, from `hvp` or from `hessian`.

    Args:
        answers: of the signatures.
        source: which.

    Returns:
        By first derivative's tensor, ``(points, numbers of that tensor)``.
    """
    found = answers.others[source].values
    if source == HVP:
        return {pair.tensor: found[tangent_name(pair.tensor)] for pair in answers.subject.pairs()}
    return {pair.tensor: _times_v(answers, pair, found) for pair in answers.subject.pairs()}


def _times_v(answers: Answers, pair: Pair, found: Mapping[str, Floats]) -> Floats:
    total = np.zeros_like(answers.jacobian(pair))
    points, m, n = total.shape
    for first, by in answers.subject.card.second_derivatives.get(pair.output.name, {}).items():
        for second, name in by.items():
            if first == pair.input.name:
                block = found[name].reshape(points, m, n, -1)
                total = total + np.einsum("pmij,pj->pmi", block, answers.v(second))
            elif second == pair.input.name:
                block = found[name].reshape(points, m, -1, n)
                total = total + np.einsum("pmij,pi->pmj", block, answers.v(first))
    return total.reshape(points, -1)


def _moved(subject: Subject) -> tuple[Floats, Floats]:
    """The steps h, ``(points, steps)``, and all multiples of v, ``(points, multiples)``."""
    count = math.ceil(-math.log2(subject.eps) / 2)
    room = [reach(subject.x[name], v, subject.boxes[name], LONGEST_STEP) for name, v in subject.v.items()]
    with np.errstate(divide="ignore"):
        longest = 2.0 ** np.floor(np.log2(np.min(room, axis=0)))
    steps = longest[:, None] * 0.5 ** np.arange(count + 1)
    return steps, longest[:, None] * multiples(count, 2.0 ** -math.floor(-math.log2(subject.eps) / 2))


def moved_values(subject: Subject, steps: Floats) -> dict[str, Floats]:
    """`serving_default` at every multiple, ``(points, multiples, numbers)`` by tensor, in one call."""
    _, moved = _moved(subject)
    return subject.along(SERVING_DEFAULT, moved)


def _gradient(
    subject: Subject, pair: Pair, values: Floats, along: Floats, steps: Floats, moved: Floats, source: str
) -> Finding:
    """Judges df as a function of its own, and Hv as its derivative along v."""
    at_x = _centre(values)
    usable = np.isfinite(values).all(axis=(1, 2))
    with np.errstate(all="ignore"):
        r = (values - at_x[:, None] - moved[:, :, None] * along[:, None])[usable]
    subject_text = f"{pair.tensor} along v, by {source}"
    tensor = tangent_name(pair.tensor) if source == HVP else pair.tensor
    if not len(r) or not np.isfinite(r).all():
        return Finding(subject_text, math.inf, tensor, "not finite where the derivative is")
    rounding = subject.eps * np.abs(along[usable])
    found = Remainders(r, steps[usable], subject.eps * largest(at_x[usable]), rounding)
    slope, worst, points, kinks = judge(found)
    wrong = slope is not None and slope < LEAST_SLOPE
    return Finding(subject_text, worst, tensor, _note(slope, 2, points, kinks), failed=wrong)


def _third_order(
    answers: Answers,
    output: CardTensor,
    values: Floats,
    along: Mapping[str, Floats],
    steps: Floats,
    source: str,
) -> Finding:
    subject = answers.subject
    f = _centre(values)
    pairs = [pair for pair in subject.pairs() if pair.output.name == output.name]
    slope_v = sum((np.einsum("pmn,pn->pm", answers.jacobian(p), answers.v(p.input.name)) for p in pairs), 0 * f)
    bend_v = sum((np.einsum("pmn,pn->pm", matrix(along[p.tensor], p), answers.v(p.input.name)) for p in pairs), 0 * f)
    _, moved = _moved(subject)
    h = moved[:, :, None]
    with np.errstate(all="ignore"):
        r = values - f[:, None] - h * slope_v[:, None] - h**2 / 2 * bend_v[:, None]
    usable = np.isfinite(r).all(axis=(1, 2))
    text = f"{output.name} to third order, by {source}"
    if not usable.any():
        return Finding(text, math.inf, note="finite nowhere")
    found = Remainders(r[usable], steps[usable], subject.eps * largest(f[usable]), np.zeros_like(f[usable]))
    noise = found.noise()
    ratio = _second_difference(found, noise, subject.eps * np.abs(bend_v[usable]))
    settled = ~np.isnan(ratio)
    left_out = int((~settled).sum())
    if settled.mean() < _ENOUGH:
        return Finding(text, note=f"no second difference settles at {left_out} of {len(ratio)} points: kinks")
    slope = Remainders(
        found.r[settled], found.steps[settled], found.value_rounding, found.slope_rounding[settled]
    ).fitted_slope(noise[settled])
    wrong = slope is not None and slope < LEAST_THIRD_SLOPE
    note = _note(slope, 3, len(ratio) - left_out, left_out)
    # At a few points several kinks may conspire to look settled; a fault of the Hessian there is seen by ``_gradient``.
    worst = np.nanquantile(ratio, 1 - max(_CONSPIRING, left_out / len(ratio) / 2))
    return Finding(text, float(worst), note=note, failed=wrong)


def _second_difference(found: Remainders, noise: Floats, rounding: Floats) -> Floats:
    """v·Hv against second differences, in units of what is allowed, ``(points,)``; NaN where these do not settle.

    They settle where each halving at least halves the change, as it does, by four, where f is smooth over the whole
    step; with a kink in it they do not. Changes know nothing of H, so no fault of it hides here.
    """
    h = found.steps[:, :, None]
    error = (found.forward + found.backward) / h**2
    rounds = SAFETY * _SECOND_NOISE * noise[:, None] / h**2
    change = np.abs(np.diff(error, axis=1)) / 3
    truncation = np.maximum(np.maximum(change[:, 2:], change[:, 1:-1] / 4), change[:, :-2] / 16)
    allowed = SAFETY * (truncation + rounding[:, None]) + rounds[:, 3:]
    best = allowed.argmin(axis=1)[:, None]
    falls = change[:, 1:] <= change[:, :-1] / 2 + rounds[:, 2:]
    both = np.take_along_axis(falls[:, 1:] & falls[:, :-1], best, axis=1)[:, 0]
    ratio = np.take_along_axis(np.abs(error[:, 3:]) / allowed, best, axis=1)[:, 0]
    return np.where(both.all(axis=1), ratio.max(axis=1), np.nan)


def _centre(values: Floats) -> Floats:
    """The values at x itself: the middle of the noise grid, which comes last."""
    return values[:, -5]


def _note(slope: float | None, right: int, points: int, kinks: int) -> str:
    shown = "remainder is all rounding" if slope is None else f"slope {slope:.2f}, {right} is right"
    return f"{shown}; {points} points" + (f", {kinks} left out at a kink" if kinks else "")
