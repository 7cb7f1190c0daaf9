"""Functions of which onnxruntime has no kernel in float64, or one that loses digits, from operations that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from gradwire_export._onnx.emitter import Emitter

# Of a tensor of some dtype.
Function: TypeAlias = Callable[[Emitter, str, "np.dtype[Any]"], str]


class _Algebra:
    """Arithmetic on tensors and numbers of one dtype."""

    def __init__(self, emit: Emitter, dtype: np.dtype[Any]) -> None:
        self._emit = emit
        self._dtype = dtype

    def __call__(self, kind: str, *operands: str | float) -> str:
        return self._emit.add(
            kind, *(self.number(each) if isinstance(each, (int, float)) else each for each in operands)
        )

    def number(self, value: float) -> str:
        return self._emit.constant(value, self._dtype)

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """Evaluate by Horner's rule; coefficients from the constant up."""
        *rest, total = coefficients
        result: str | float = total
        for coefficient in reversed(rest):
            result = self("Add", self("Mul", x, result), coefficient)
        return result if isinstance(result, str) else self.number(result)

    def rounded(self, x: str) -> str:
        """Return x to the 24 bits of float32, whose square float64 holds exactly."""
        return self._emit.cast(self._emit.cast(x, np.dtype(np.float32)), self._dtype)


def log1p(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return log(1 + x) as log(w) x / (w - 1) with w = 1 + x, right however w is rounded (Kahan, HP-15C, 1982)."""
    a = _Algebra(emit, dtype)
    w = a("Add", x, 1.0)
    log, excess = a("Log", w), a("Sub", w, 1.0)
    corrected = a("Where", a("Equal", excess, 0.0), x, a("Mul", log, a("Div", x, excess)))
    return a("Where", a("Greater", x, 1.0), log, corrected)


def expm1(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return exp(x) - 1 as (u - 1) x / log(u) with u = exp(x) (Kahan, 1982)."""
    a = _Algebra(emit, dtype)
    u = a("Exp", x)
    above = a("Sub", u, 1.0)
    corrected = a("Where", a("Equal", above, 0.0), x, a("Mul", above, a("Div", x, a("Log", u))))
    return a("Where", a("Less", a("Abs", x), 1.0), corrected, above)


def sinh(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return sinh x = sign x (m + m / (m + 1)) / 2 with m = expm1 |x|; of large x, exp(|x| / 2)² / 2."""
    a = _Algebra(emit, dtype)
    size = a("Abs", x)
    m = expm1(emit, size, dtype)
    near = a("Mul", a("Add", m, a("Div", m, a("Add", m, 1.0))), 0.5)
    half = a("Exp", a("Mul", size, 0.5))
    return a("Mul", a("Sign", x), a("Where", a("Greater", size, 32.0), a("Mul", a("Mul", half, 0.5), half), near))


def cosh(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return cosh x = e / 2 + 1 / (2 e) with e = exp |x|; of large x, exp(|x| / 2)² / 2."""
    a = _Algebra(emit, dtype)
    size = a("Abs", x)
    e = a("Exp", size)
    near = a("Add", a("Mul", e, 0.5), a("Div", 0.5, e))
    half = a("Exp", a("Mul", size, 0.5))
    return a("Where", a("Greater", size, 32.0), a("Mul", a("Mul", half, 0.5), half), near)


def tan(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return sin x / cos x."""
    a = _Algebra(emit, dtype)
    return a("Div", a("Sin", x), a("Cos", x))


def asinh(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return sign x log1p(|x| + x² / (1 + √(x² + 1))); of large x, log 2 |x|."""
    a = _Algebra(emit, dtype)
    size = a("Abs", x)
    square = a("Mul", x, x)
    near = a("Add", size, a("Div", square, a("Add", a("Sqrt", a("Add", square, 1.0)), 1.0)))
    far = a("Add", a("Log", size), math.log(2))
    return a("Mul", a("Sign", x), a("Where", a("Greater", size, 2.0**28), far, log1p(emit, near, dtype)))


def acosh(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return log1p(t + √(2 t + t²)) with t = x - 1; of large x, log 2 x."""
    a = _Algebra(emit, dtype)
    t = a("Sub", x, 1.0)
    root = a("Sqrt", a("Add", a("Mul", t, 2.0), a("Mul", t, t)))
    far = a("Add", a("Log", x), math.log(2))
    return a("Where", a("Greater", x, 2.0**28), far, log1p(emit, a("Add", t, root), dtype))


def atanh(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return sign x log1p(2 |x| / (1 - |x|)) / 2."""
    a = _Algebra(emit, dtype)
    size = a("Abs", x)
    inner = a("Div", a("Mul", size, 2.0), a("Sub", 1.0, size))
    return a("Mul", a("Mul", a("Sign", x), 0.5), log1p(emit, inner, dtype))


# Coefficients of atan and erf are those of fdlibm (Sun Microsystems, 1993), within an ulp of the truth.
_ATAN: Final = (
    1.0, -3.33333333333329318027e-01, 1.99999999998764832476e-01, -1.42857142725034663711e-01,
    1.11111104054623557880e-01, -9.09088713343650656196e-02, 7.69187620504482999495e-02, -6.66107313738753120669e-02,
    5.83357013379057348645e-02, -4.97687799461593236017e-02, 3.65315727442169155270e-02, -1.62858201153657823623e-02,
)  # fmt: skip
_SEVEN_SIXTEENTHS: Final = 0.4375


def atan(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return atan x by a polynomial below 7/16, to which 1 / |x| and (t - 1) / (t + 1) lead from above."""
    a = _Algebra(emit, dtype)
    size = a("Abs", x)
    is_large = a("Greater", size, 1.0)
    t = a("Where", is_large, a("Div", 1.0, size), size)
    is_middle = a("Greater", t, _SEVEN_SIXTEENTHS)
    u = a("Where", is_middle, a("Div", a("Sub", t, 1.0), a("Add", t, 1.0)), t)
    near = a("Mul", u, a.polynomial(a("Mul", u, u), _ATAN))
    of_t = a("Where", is_middle, a("Add", near, math.pi / 4), near)
    return a("Mul", a("Sign", x), a("Where", is_large, a("Sub", math.pi / 2, of_t), of_t))


def asin(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return atan(x / √((1 - x) (1 + x)))."""
    a = _Algebra(emit, dtype)
    root = a("Sqrt", a("Mul", a("Sub", 1.0, x), a("Add", x, 1.0)))
    return atan(emit, a("Div", x, root), dtype)


def acos(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return 2 atan √((1 - x) / (1 + x))."""
    a = _Algebra(emit, dtype)
    root = a("Sqrt", a("Div", a("Sub", 1.0, x), a("Add", x, 1.0)))
    return a("Mul", atan(emit, root, dtype), 2.0)


_EDGES: Final = (0.84375, 1.25, 1 / 0.35)
_ERX: Final = 8.45062911510467529297e-01  # erf 1 to 24 bits
_PP: Final = (
    1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02, -5.77027029648944159157e-03,
    -2.37630166566501626084e-05,
)  # fmt: skip
_QQ: Final = (
    1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03, 1.32494738004321644526e-04,
    -3.96022827877536812320e-06,
)  # fmt: skip
_PA: Final = (
    -2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01, 3.18346619901161753674e-01,
    -1.10894694282396677476e-01, 3.54783043256182359371e-02, -2.16637559486879084300e-03,
)  # fmt: skip
_QA: Final = (
    1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02, 1.26171219808761642112e-01,
    1.36370839120290507362e-02, 1.19844998467991074170e-02,
)  # fmt: skip
_RA: Final = (
    -9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e01, -6.23753324503260060396e01,
    -1.62396669462573470355e02, -1.84605092906711035994e02, -8.12874355063065934246e01, -9.81432934416914548592e00,
)  # fmt: skip
_SA: Final = (
    1.0, 1.96512716674392571292e01, 1.37657754143519042600e02, 4.34565877475229228821e02, 6.45387271733267880336e02,
    4.29008140027567833386e02, 1.08635005541779435134e02, 6.57024977031928170135e00, -6.04244152148580987438e-02,
)  # fmt: skip
_RB: Final = (
    -9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e01, -1.60636384855821916062e02,
    -6.37566443368389627722e02, -1.02509513161107724954e03, -4.83519191608651397019e02,
)  # fmt: skip
_SB: Final = (
    1.0, 3.03380607434824582924e01, 3.25792512996573918826e02, 1.53672958608443695994e03, 3.19985821950859553908e03,
    2.55305040643316442583e03, 4.74528541206955367215e02, -2.24409524465858183362e01,
)  # fmt: skip


def _erf_parts(a: _Algebra, x: str) -> tuple[str, str, str, str]:
    """Return |x|, P/Q near 0, P/Q about 1, and erfc |x| of the tail; each for all x, right where it is used."""
    size = a("Abs", x)
    square = a("Mul", x, x)
    near = a("Div", a.polynomial(square, _PP), a.polynomial(square, _QQ))
    s = a("Sub", size, 1.0)
    middle = a("Div", a.polynomial(s, _PA), a.polynomial(s, _QA))
    s = a("Div", 1.0, square)
    low, high = (a("Div", a.polynomial(s, top), a.polynomial(s, below)) for top, below in ((_RA, _SA), (_RB, _SB)))
    ratio = a("Where", a("Less", size, _EDGES[2]), low, high)
    z = a.rounded(size)
    first = a("Exp", a("Sub", -0.5625, a("Mul", z, z)))
    second = a("Exp", a("Add", a("Mul", a("Sub", z, size), a("Add", z, size)), ratio))
    tail = a("Where", a("Less", size, 28.0), a("Div", a("Mul", first, second), size), 0.0)
    return size, near, middle, a("Where", a("IsNaN", x), x, tail)


def erf(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return the error function."""
    a = _Algebra(emit, dtype)
    size, near, middle, tail = _erf_parts(a, x)
    sign = a("Sign", x)
    far = a("Mul", sign, a("Sub", 1.0, tail))
    central = a("Mul", sign, a("Add", middle, _ERX))
    outer = a("Where", a("Less", size, _EDGES[1]), central, far)
    return a("Where", a("Less", size, _EDGES[0]), a("Add", x, a("Mul", x, near)), outer)


def erfc(emit: Emitter, x: str, dtype: np.dtype[Any]) -> str:
    """Return 1 - erf x, with all digits of its tail."""
    a = _Algebra(emit, dtype)
    size, near, middle, tail = _erf_parts(a, x)
    is_negative = a("Less", x, 0.0)
    far = a("Where", is_negative, a("Sub", 2.0, tail), tail)
    central = a("Sub", 1.0 - _ERX, middle)
    central = a("Where", is_negative, a("Add", a("Add", middle, _ERX), 1.0), central)
    outer = a("Where", a("Less", size, _EDGES[1]), central, far)
    within = a("Sub", 1.0, a("Add", x, a("Mul", x, near)))
    upper = a("Sub", 0.5, a("Add", a("Mul", x, near), a("Sub", x, 0.5)))  # from 1/4 on 1 - x would lose a bit
    inner = a("Where", a("Less", x, 0.25), within, upper)
    return a("Where", a("Less", size, _EDGES[0]), inner, outer)
