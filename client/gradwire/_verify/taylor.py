"""Check 1, first order: a Taylor test of every first derivative.

At random points x of the domain, along random directions v, the remainder ``r(h) = f(x + hv) - f(x) - h df·v`` is
looked at over steps h that halve from a quarter of the domain down to about the square root of the precision. Two
things must hold, for every output with respect to every input:

1. r(h) falls as h² until it is rounding: the slope of log r over log h, fitted to the smallest steps at which the
   median remainder is ten times rounding or more, is at least 1.7. With a wrong df it is 1. (The Taylor test of
   Farrell, Ham, Funke and Rognes, SIAM J. Sci. Comput. 35 (2013) C369, and of every adjoint code.)
2. df·v and the central difference ``D(h) = (f(x + hv) - f(x - hv)) / 2h`` disagree by no more than

       8 ( |D(2h) - D(h)| / 3  +  s / h  +  eps Σ|df_i v_i| )

   at the step where that is smallest: what truncation leaves (Richardson's estimate; the largest of three steps,
   scaled by h², so that one lucky difference cannot hide it), what rounding of f makes of it, and rounding of df
   itself. eps is the dtype's; s is the noise of f (``_noise``), at least eps max|f|.

Everything is computed from r, in float64, with the steps that were really taken after rounding to the input's dtype:
rounding of x costs nothing. f(x) and df are those of `serving_default`, the other values those of `value`, so the two
signatures are held against each other as well. No step leaves the domain. Points at a kink of f (a ReLU's), where no
difference can tell df, are left out and counted; kinks are told from f alone, so no fault of df hides there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._numerics import Remainders, eps_of, flat_rows, multiples, points_along, reach
from gradwire._package import SERVING_DEFAULT
from gradwire._verify.result import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gradwire._verify.probe import Pair, Subject

    Floats = NDArray[np.float64]

LONGEST_STEP: Final = 0.25  # of the domain's width: where there is room, both ends of a step fit
# 2 when df is right, 1 when it is wrong; float32 has few clean steps, so some tolerance.
LEAST_SLOPE: Final = 1.7


@final
@dataclass(frozen=True, slots=True)
class DerivativeCheck:
    """One derivative tensor against the remainders of its function.

    Attributes:
        output: the output's name.
        input: the input's name.
        tensor: the derivative's name in the signature.
        points: how many points counted: those at which f is finite and has no kink.
        kinks: how many points were left out for a kink.
        slope: of the remainder; 2 when right, 1 when wrong; None where the remainder is all rounding.
        disagreement: the worst of df·v and a central difference, in units of what truncation and rounding allow.
        steps: median of h over the points, as a multiple of v, which is about as long as the domain is wide.
        remainders: median of ``|f(x + hv) - f(x) - h df·v|`` at each step.
    """

    output: str
    input: str
    tensor: str
    points: int
    slope: float | None
    disagreement: float
    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    kinks: int = 0

    @property
    def passed(self) -> bool:
        """Whether the disagreement is at most 1 and the slope, if any, at least ``LEAST_SLOPE``."""
        return self.disagreement <= 1 and (self.slope is None or self.slope >= LEAST_SLOPE)

    @property
    def finding(self) -> Finding:
        """The line of the table."""
        slope = "remainder is all rounding" if self.slope is None else f"slope {self.slope:.2f}, 2 is right"
        kinks = f", {self.kinks} left out at a kink" if self.kinks else ""
        return Finding(
            f"{self.tensor} of {self.output} by {self.input}",
            self.disagreement,
            self.tensor,
            f"{slope}; {self.points} points{kinks}",
            failed=not self.passed,
        )


def first_order(subject: Subject) -> tuple[DerivativeCheck, ...]:
    """Makes the Taylor test of every first derivative."""
    answer = subject.run(SERVING_DEFAULT, subject.x)
    return tuple(_check(subject, answer, pair) for pair in subject.pairs())


def judge(found: Remainders) -> tuple[float | None, float, int, int]:
    """Judges remainders.

    Args:
        found: at the points where f is finite.

    Returns:
        Slope, disagreement, points that count, points at a kink.
    """
    noise = found.noise()
    ratio = found.disagreement(noise)
    smooth = ratio[~np.isnan(ratio)]
    worst = float(smooth.max()) if len(smooth) else math.inf
    return found.fitted_slope(noise), worst, len(smooth), len(ratio) - len(smooth)


def _check(subject: Subject, answer: Mapping[str, NDArray[Any]], pair: Pair) -> DerivativeCheck:
    names = pair.output.name, pair.input.name, pair.tensor
    found, finite = _remainders(subject, answer, pair)
    if not finite or not len(found.r):
        return DerivativeCheck(*names, len(found.r), None, math.inf, (), ())
    slope, worst, points, kinks = judge(found)
    steps, r = (tuple(part.tolist()) for part in found.curve())
    return DerivativeCheck(*names, points, slope, worst, steps, r, kinks)


def _remainders(subject: Subject, answer: Mapping[str, NDArray[Any]], pair: Pair) -> tuple[Remainders, bool]:
    """The remainders at the points where f is finite, and whether df is finite there too."""
    x, v, box = subject.x[pair.input.name], subject.v[pair.input.name], subject.boxes[pair.input.name]
    eps = max(eps_of(pair.output.dtype), eps_of(pair.input.dtype))
    count = math.ceil(-math.log2(eps) / 2)
    longest = reach(x, v, box, LONGEST_STEP)
    t = longest[:, None] * multiples(count, math.sqrt(eps))
    values = subject.along(subject.values_signature, t, [pair.input.name])[pair.output.name]
    moved = points_along(x, v, t, box)
    f = flat_rows(answer[pair.output.name])
    usable = np.isfinite(values).all(axis=(1, 2)) & np.isfinite(f).all(axis=1)
    df = flat_rows(answer[pair.tensor]).reshape(*f.shape, -1)[usable]
    taken = (moved.astype(np.float64) - x[:, None]).reshape(*moved.shape[:2], -1)[usable]
    values, f = values[usable], f[usable]
    with np.errstate(all="ignore"):  # a df that is not finite is told by its remainders
        r = values - f[:, None] - np.einsum("pmn,pdn->pdm", df, taken)
        rounding = eps * np.einsum("pmn,pn->pm", np.abs(df), np.abs(flat_rows(v)[usable]))
    steps = (longest[:, None] * 0.5 ** np.arange(count + 1))[usable]
    found = Remainders(r, steps, eps * np.abs(f).max(axis=0, initial=0.0), rounding)
    return found, bool(np.isfinite(r).all())
