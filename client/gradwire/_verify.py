"""Are the derivatives those of the values? A Taylor test through whatever answers: address, package or fake.

At random points x of the domain, along random directions v, the remainder ``r(h) = f(x + hv) - f(x) - h
df·v`` is looked at over steps h that halve from a quarter of the domain down to about the square root of the
precision. Two things must hold, for every output with respect to every input:

1. r(h) falls as h² until it is rounding: the slope of log r over log h, fitted to the smallest steps at which
   the median remainder is ten times rounding or more, is at least 1.7. With a wrong df it is 1. (The Taylor
   test of Farrell, Ham, Funke and Rognes, SIAM J. Sci. Comput. 35 (2013) C369, and of every adjoint code.)
2. df·v and the central difference ``D(h) = (f(x + hv) - f(x - hv)) / 2h`` disagree by no more than

       8 ( |D(2h) - D(h)| / 3  +  s / h  +  eps Σ|df_i v_i| )

   at the step where that is smallest: what truncation leaves (Richardson's estimate; the largest of three
   steps, scaled by h², so that one lucky difference cannot hide it), what rounding of f makes of it, and
   rounding of df itself. eps is the dtype's; s is the noise of f, from fourth differences on a grid so fine
   that f is a cubic there (Hamming's difference table, as in Moré and Wild, "Estimating computational noise",
   SIAM J. Sci. Comput. 33 (2011) 1292), at least eps max|f|.

Everything is computed from r, in float64, with the steps that were really taken after rounding to the input's
dtype: rounding of x costs nothing. f(x) and df are those of `serving_default`, the other values those of
`value`, so the two signatures are held against each other as well. No step leaves the domain. Points at a
kink of f (a ReLU's), where no difference can tell df, are left out; kinks are told from f alone, so no fault
of df hides there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._contract import SERVING_DEFAULT, VALUE
from gradwire._dtypes import BFLOAT16, BY_NAME
from gradwire._errors import UsageError
from gradwire._sampling import boxes_of, reach, sample_directions, sample_points
from gradwire._taylor import Remainders, multiples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._model import Model
    from gradwire._sampling import Box

    Floats = NDArray[np.float64]

DEFAULT_POINTS: Final = 64  # in float64 each needs 63 evaluations: one call of some 4,000 rows a derivative
LONGEST_STEP: Final = 0.25  # of the domain's width: where there is room, both ends of a step fit
# 2 when df is right, 1 when it is wrong; float32 has few clean steps, so some tolerance.
LEAST_SLOPE: Final = 1.7
_BFLOAT16_EPS: Final = 2.0**-7


@final
@dataclass(frozen=True, slots=True)
class DerivativeCheck:
    """One derivative tensor, checked.

    Attributes:
        output: the output's name.
        input: the input's name.
        tensor: the derivative's name in the signature.
        points: how many points counted: those at which f is finite and has no kink.
        slope: of the remainder; 2 when right, 1 when wrong; None where the remainder is all rounding.
        disagreement: the worst of df·v and a central difference, in units of what truncation and rounding
        allow.
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

    @property
    def passed(self) -> bool:
        """Whether the disagreement is at most 1 and the slope, if any, at least ``LEAST_SLOPE``."""
        return self.disagreement <= 1 and (self.slope is None or self.slope >= LEAST_SLOPE)


@final
@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` found.

    Attributes:
        checks: one a derivative tensor, outputs and inputs in the card's order.
        domain: the bounds within which points were drawn, ``(lower, upper)`` by input.
    """

    checks: tuple[DerivativeCheck, ...]
    domain: Mapping[str, tuple[Any, Any]]

    @property
    def passed(self) -> bool:
        """Whether every derivative passed."""
        return all(check.passed for check in self.checks)


def verify(
    model: Model,
    *,
    domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    points: int = DEFAULT_POINTS,
    seed: int = 0,
) -> Verification:
    """Checks that a package's derivatives are those of its values.

    This is about the wiring. How far the learnt function is from the truth stands on the card, under
    ``errors``.

    Args:
        model: from ``connect``, ``load``, or with a ``FakeTransport``.
        domain: bounds by input name, each a number or an array of the input's row shape; by default the
            card's, and [-1, 1] where the card says nothing.
        points: how many random points, at least one.
        seed: of the points and directions.

    Returns:
        The checks; ``.passed`` says whether all is well. The method and its tolerances stand at the head of
        ``gradwire/_verify.py``.

    Raises:
        InputNameError: ``domain`` names an unknown input.
        UsageError: no points, or a domain that encloses nothing.
        SignatureNotFound: the package has no card.
        GradwireError: a call failed.
    """
    if points < 1:
        raise UsageError(f"{points} points, expected at least one")
    rng = np.random.default_rng(seed)
    boxes = boxes_of(model.card, domain)
    dtypes = {tensor.name: BY_NAME[tensor.dtype].numpy for tensor in model.card.inputs}
    x = {name: sample_points(boxes[name], points, dtype, rng) for name, dtype in dtypes.items()}
    drawn = _Drawn(model, x, model.predict(SERVING_DEFAULT, **x))
    checks = [
        drawn.check(output.name, wrt, sample_directions(boxes[wrt], points, rng), boxes[wrt])
        for output in model.card.outputs
        for wrt in x
        if wrt in model.card.derivatives[output.name]
    ]
    return Verification(tuple(checks), boxes)


@final
@dataclass(frozen=True, slots=True)
class _Drawn:
    """The points drawn, and what `serving_default` says there."""

    model: Model
    x: Mapping[str, NDArray[Any]]
    answer: Mapping[str, NDArray[Any]]

    def check(self, output: str, wrt: str, v: Floats, box: Box) -> DerivativeCheck:
        """Checks one derivative along the directions v, ``(points, *row)``."""
        tensor = self.model.card.derivatives[output][wrt]
        found, finite = self._remainders(output, wrt, v, box)
        if not finite or not len(found.r):
            return DerivativeCheck(output, wrt, tensor, len(found.r), None, math.inf, (), ())
        noise = found.noise()
        units = found.disagreement(noise)
        smooth = units[~np.isnan(units)]
        worst = float(smooth.max()) if len(smooth) else math.inf
        steps, r = (tuple(part.tolist()) for part in found.curve())
        return DerivativeCheck(output, wrt, tensor, len(smooth), found.fitted_slope(noise), worst, steps, r)

    def _remainders(self, output: str, wrt: str, v: Floats, box: Box) -> tuple[Remainders, bool]:
        """The remainders at the points where f is finite, and whether df is finite there too."""
        eps = self._precision(output, wrt)
        count = math.ceil(-math.log2(eps) / 2)
        x = self.x[wrt]
        longest = reach(x, v, box, LONGEST_STEP)
        moved = _moved(x, v, longest[:, None] * multiples(count, math.sqrt(eps)), box)
        values = self._values(output, wrt, moved)
        f = _numbers(self.answer[output])
        usable = np.isfinite(values).all(axis=(1, 2)) & np.isfinite(f).all(axis=1)
        df = _numbers(self.answer[self.model.card.derivatives[output][wrt]]).reshape(*f.shape, -1)[usable]
        taken = (moved.astype(np.float64) - x[:, None]).reshape(*moved.shape[:2], -1)[usable]
        values, f = values[usable], f[usable]
        with np.errstate(all="ignore"):  # a df that is not finite is told by its remainders
            r = values - f[:, None] - np.einsum("pmn,pdn->pdm", df, taken)
            rounding = eps * np.einsum("pmn,pn->pm", np.abs(df), np.abs(_numbers(v)[usable]))
        steps = (longest[:, None] * 0.5 ** np.arange(count + 1))[usable]
        found = Remainders(r, steps, eps * np.abs(f).max(axis=0, initial=0.0), rounding)
        return found, bool(np.isfinite(r).all())

    def _precision(self, output: str, wrt: str) -> float:
        """The coarser precision of an input and an output."""
        tensors = (*self.model.card.inputs, *self.model.card.outputs)
        return max(_eps(tensor.dtype) for tensor in tensors if tensor.name in (output, wrt))

    def _values(self, output: str, wrt: str, moved: NDArray[Any]) -> Floats:
        """An output at the moved points, ``(points, multiples, numbers)``, in one call."""
        each = moved.shape[1]
        rows = {name: np.repeat(array, each, axis=0) for name, array in self.x.items()}
        rows[wrt] = moved.reshape(-1, *moved.shape[2:])
        signature = VALUE if VALUE in self.model.signatures else SERVING_DEFAULT
        found = self.model.predict(signature, **rows)[output]
        return found.reshape(len(moved), each, -1).astype(np.float64)


def _eps(dtype: str) -> float:
    return _BFLOAT16_EPS if dtype == BFLOAT16 else float(np.finfo(dtype).eps)


def _moved(x: NDArray[Any], v: Floats, steps: Floats, box: Box) -> NDArray[Any]:
    """The points x + hv, ``(points, multiples, *row)``, in the input's dtype and still in the domain."""
    steps = steps.reshape(*steps.shape, *(1 for _ in v.shape[1:]))
    return np.clip(x[:, None] + steps * v[:, None], *box).astype(x.dtype)


def _numbers(array: NDArray[Any]) -> Floats:
    """The numbers of each row, ``(points, numbers)``, in float64."""
    return array.reshape(len(array), -1).astype(np.float64)
