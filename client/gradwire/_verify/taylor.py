"""Taylor tests: every first derivative against values, every Hessian against first derivatives and values.

First order. At random points x of the domain, along random directions v, the remainder ``r(h) = f(x + hv) - f(x) - h
df·v`` is taken over steps h that halve from a quarter of the domain down to about the square root of the precision. Two
things must hold, for every output with respect to every input:

1. r(h) falls as h² until it is rounding: the slope of log r over log h, fitted to the smallest steps at which the
   median remainder is ten times rounding or more, is at least 1.7. With a wrong df it is 1. (The Taylor test of
   Farrell, Ham, Funke and Rognes, SIAM J. Sci. Comput. 35 (2013) C369, and of every adjoint code.)
2. df·v and the central difference ``D(h) = (f(x + hv) - f(x - hv)) / 2h`` disagree by no more than

       8 ( |D(2h) - D(h)| / 3  +  s / h  +  eps Σ|df_i v_i| )

   at the step where that is smallest: truncation (Richardson's estimate; the largest of three steps, scaled by h², so
   that one lucky difference cannot hide it), rounding of f, and rounding of df itself. eps is the dtype's; s is the
   noise of f (``_numerics/noise.py``), at least eps max|f|.

All is computed from r, in float64, with the steps that were really taken after rounding to the input's dtype: rounding
of x costs nothing. f(x) and df are those of `serving_default`, the other values those of `value`, so the two
signatures are compared as well. No step leaves the domain. Points at a kink of f (a ReLU's), where no difference can
approximate df, are left out and counted; kinks are detected from f alone, so no fault of df hides there.

Second order. Along a direction v that moves every differentiated input at once, so that mixed derivatives count:

1. df itself is a function whose derivative along v is Hv: ``df(x + hv) - df(x) - h Hv`` is judged like the remainder
   above. This is the sharper of the two, for it loses only s/h to rounding.
2. The even remainder, ``(f(x + hv) + f(x - hv)) / 2 - f(x) - h²/2 v·Hv``, in which df drops out, must fall as h⁴:
   slope at least 2.6, with a wrong Hessian it is 2, with a kink in the third derivative 3; and v·Hv must agree with
   the second difference ``(f(x + hv) - 2 f(x) + f(x - hv)) / h²`` up to

       8 ( |D(2h) - D(h)| / 3  +  √6 s / h²  +  eps |v·Hv| )

   at the step where that is smallest, if differences settle there (no kink within it). Rounding leaves of this some
   five digits in float64 and none to two in float32: then the slope is "all rounding".

Far from zero, where the dtype of x resolves fewer steps, those that it does not resolve are left out, and the noise of
f is taken from a coarser grid.

H comes from `hessian`, from `hvp`, or from both, each tested by itself. Directions, points and steps are such that
x + hv is exact (``_numerics/points.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics import (
    CENTRE,
    GRID,
    Remainders,
    eps_of,
    flat_rows,
    largest,
    multiples,
    points_along,
    reach,
    resolved_halvings,
)
from gradwire._package import SERVING_DEFAULT, SIGNATURES, CardTensor, Part, tangent_name
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.probe import Derivative, Probe
from gradwire._verify.result import LEAST_SLOPE, DerivativeCheck, Finding

Arrays = Mapping[str, NDArray[np.generic]]
Floats = NDArray[np.float64]

LONGEST_STEP: Final = 0.25  # of the domain's width: where there is room, both ends of a step fit
LEAST_EVEN_SLOPE: Final = 2.6  # 4 when the Hessian is right, 2 when it is wrong
_ENOUGH: Final = 0.25  # of the points: where kinks leave fewer, second differences have no verdict
_CONSPIRING: Final = 0.05  # of the points; one in some 4,000 was seen, on ReLU networks in float32
_AT_X: Final = CENTRE - len(GRID)  # of ``multiples``: the middle of the noise grid, which comes last


def taylor(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Make the Taylor test of every first derivative, and those of second order by each signature that has them."""
    probe = evaluations.probe
    outputs = probe.run(SERVING_DEFAULT, probe.x)
    for derivative in probe.derivatives():
        yield _first_order(probe, derivative, outputs)
    sources = list(evaluations.second_order())
    if sources and any(v.any() for v in probe.v.values()):
        t = _Steps(probe)
        values = probe.run_along(SERVING_DEFAULT, t.multiples)
        for source in sources:
            hv = evaluations.hessian_times_v(source)
            for derivative in probe.derivatives():
                yield _gradient(probe, derivative, values[derivative.tensor], hv[derivative.tensor], t, source)
            for output in probe.card.outputs:
                yield _second_difference(evaluations, output, values[output.name], hv, t, source)


def _first_order(probe: Probe, derivative: Derivative, outputs: Arrays) -> Finding:
    if not probe.v[derivative.input.name].any():
        return Finding(str(derivative), note=f"{derivative.input.name} is constant in the domain: nothing to differ")
    remainders, finite = _remainders(probe, derivative, outputs)
    slope, worst, points, kinks, curve = None, math.inf, len(remainders.r), 0, ((), ())
    if finite and points:
        slope, worst, points, kinks = _judge(remainders)
        curve = remainders.median_curve()
    steps, r = (tuple(map(float, part)) for part in curve)
    names = derivative.output.name, derivative.input.name, derivative.tensor
    check = DerivativeCheck(*names, points, slope, worst, steps, r, kinks)
    note = _note(slope, 2, points, kinks)
    return Finding(
        str(derivative),
        worst,
        derivative.tensor,
        note,
        failed=not check.passed,
        derivative=check,
        signatures=(SERVING_DEFAULT,),
    )


def _judge(remainders: Remainders) -> tuple[float | None, float, int, int]:
    """Return slope, disagreement, points that count and points at a kink, of remainders of second order."""
    noise = remainders.noise()
    ratio = remainders.disagreement(noise)
    smooth = ratio[~np.isnan(ratio)]
    worst = float(smooth.max()) if len(smooth) else math.inf
    return remainders.fitted_slope(noise), worst, len(smooth), len(ratio) - len(smooth)


def _remainders(probe: Probe, derivative: Derivative, outputs: Arrays) -> tuple[Remainders, bool]:
    """The remainders at the points where f is finite, and whether df is finite there too."""
    wrt = derivative.input.name
    x, v, box = probe.x[wrt], probe.v[wrt], probe.boxes[wrt]
    eps = max(eps_of(derivative.output.dtype), eps_of(derivative.input.dtype))
    count = math.ceil(-math.log2(eps) / 2)
    longest, finest = reach(x, v, box, LONGEST_STEP), math.sqrt(eps)
    with np.errstate(divide="ignore"):
        powers = 2.0 ** np.floor(np.log2(longest))
    if (resolved := resolved_halvings({wrt: v}, probe.boxes, probe.x, powers)) is not None:
        longest, count, finest = powers, min(count, resolved), max(finest, 0.5**resolved)
    t = longest[:, None] * multiples(count, finest)
    values = probe.run_along(probe.values_signature, t, [wrt])[derivative.output.name]
    f = flat_rows(outputs[derivative.output.name])
    usable = np.isfinite(values).all(axis=(1, 2)) & np.isfinite(f).all(axis=1)
    df = flat_rows(outputs[derivative.tensor]).reshape(*f.shape, -1)[usable]
    moved = points_along(x, v, t, box).astype(np.float64)
    taken = (moved - x[:, None]).reshape(*t.shape, -1)[usable]
    values, f = values[usable], f[usable]
    with np.errstate(all="ignore"):  # a df that is not finite shows in its remainders
        r = values - f[:, None] - np.einsum("pmn,pdn->pdm", df, taken)
        rounding = eps * np.einsum("pmn,pn->pm", np.abs(df), np.abs(flat_rows(v)[usable]))
    steps = (longest[:, None] * 0.5 ** np.arange(count + 1))[usable]
    remainders = Remainders(r, steps, eps * np.abs(f).max(axis=0, initial=0.0), rounding)
    return remainders, bool(np.isfinite(r).all())


class _Steps:
    """Steps along all directions at once: powers of two, so that x + hv is exact."""

    def __init__(self, probe: Probe) -> None:
        count = math.ceil(-math.log2(probe.eps) / 2)
        room = [reach(probe.x[name], v, probe.boxes[name], LONGEST_STEP) for name, v in probe.v.items()]
        with np.errstate(divide="ignore"):
            longest = 2.0 ** np.floor(np.log2(np.min(room, axis=0)))
        finest = 2.0 ** -math.floor(-math.log2(probe.eps) / 2)
        if (resolved := resolved_halvings(probe.v, probe.boxes, probe.x, longest)) is not None:
            count, finest = min(count, resolved), max(finest, 0.5**resolved)
        self.h: Floats = longest[:, None] * 0.5 ** np.arange(count + 1)  # (points, steps)
        self.multiples: Floats = longest[:, None] * multiples(count, finest)  # of v, (points, multiples)


def _gradient(probe: Probe, derivative: Derivative, values: Floats, hv: Floats, steps: _Steps, source: str) -> Finding:
    """Judge df as a function of its own, and Hv as its derivative along v."""
    at_x = values[:, _AT_X]
    usable = np.isfinite(values).all(axis=(1, 2))
    with np.errstate(all="ignore"):
        r = (values - at_x[:, None] - steps.multiples[:, :, None] * hv[:, None])[usable]
    text = f"{derivative.tensor} along v, from {source}"
    takes_v = Part.DERIVATIVE_TANGENTS in SIGNATURES[source].gives
    tensor = tangent_name(derivative.tensor) if takes_v else derivative.tensor
    if not len(r) or not np.isfinite(r).all():
        return Finding(text, math.inf, tensor, "not finite where the derivative is", signatures=(source,))
    rounding = probe.eps * np.abs(hv[usable])
    remainders = Remainders(r, steps.h[usable], probe.eps * largest(at_x[usable]), rounding)
    slope, worst, points, kinks = _judge(remainders)
    wrong = slope is not None and slope < LEAST_SLOPE
    return Finding(text, worst, tensor, _note(slope, 2, points, kinks), failed=wrong, signatures=(source,))


def _second_difference(
    evaluations: SignatureEvaluations,
    output: CardTensor,
    values: Floats,
    hv: Mapping[str, Floats],
    steps: _Steps,
    source: str,
) -> Finding:
    probe = evaluations.probe
    f = values[:, _AT_X]
    second = np.zeros_like(f)  # v·Hv
    for each in probe.derivatives():
        if each.output.name == output.name:
            second += np.einsum("pmn,pn->pm", each.blocks(hv[each.tensor]), evaluations.v(each.input.name))
    h = steps.multiples[:, :, None]
    with np.errstate(all="ignore"):
        r = values - f[:, None] - h**2 / 2 * second[:, None]
    usable = np.isfinite(r).all(axis=(1, 2))
    text = f"{output.name} by second differences, from {source}"
    if not usable.any():
        return Finding(text, math.inf, note="finite nowhere", signatures=(source,))
    value_rounding, exact = probe.eps * largest(f[usable]), np.zeros_like(f[usable])
    remainders = Remainders(r[usable], steps.h[usable], value_rounding, exact).even()
    noise = remainders.noise()
    ratio = remainders.second_disagreement(noise, probe.eps * np.abs(second[usable]))
    settled = ~np.isnan(ratio)
    left_out = int((~settled).sum())
    if settled.mean() < _ENOUGH:
        return Finding(text, note=f"no second difference settles at {left_out} of {len(ratio)} points: kinks")
    smooth = Remainders(remainders.r[settled], remainders.steps[settled], value_rounding, exact[settled])
    slope = smooth.fitted_slope(noise[settled])
    wrong = slope is not None and slope < LEAST_EVEN_SLOPE
    note = _note(slope, 4, len(ratio) - left_out, left_out)
    # At a few points several kinks may conspire to look settled; a fault of the Hessian there is seen by ``_gradient``.
    worst = np.nanquantile(ratio, 1 - max(_CONSPIRING, left_out / len(ratio) / 2))
    return Finding(text, float(worst), note=note, failed=wrong, signatures=(source,))


def _note(slope: float | None, right: int, points: int, kinks: int) -> str:
    if kinks and not points:
        return f"all {kinks} points are at a kink: nothing could be compared; try a narrower domain"
    shown = "remainder is all rounding" if slope is None else f"slope {slope:.2f}, {right} is right"
    return f"{shown}; {points} points" + (f", {kinks} left out at a kink" if kinks else "")
