"""The functions of one number that kernels compute, against their closed forms in float64: values and derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gradwire_export._native.c_source import Routine
from gradwire_export._native.derivatives import tangents
from gradwire_export._native.program import Program


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


erf = np.vectorize(math.erf)
# f, f' and f'', and the range of x.
CLOSED_FORMS = {
    "exp": (np.exp, np.exp, np.exp, (-20, 20)),
    "expm1": (np.expm1, np.exp, np.exp, (-20, 20)),
    "log": (np.log, lambda x: 1 / x, lambda x: -1 / x**2, (0.01, 50)),
    "log1p": (np.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2, (-0.9, 50)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2, lambda x: -2 * np.tanh(x) / np.cosh(x) ** 2, (-4, 4)),
    "sigmoid": (
        sigmoid,
        lambda x: sigmoid(x) * sigmoid(-x),
        lambda x: sigmoid(x) * sigmoid(-x) * (sigmoid(-x) - sigmoid(x)),
        (-8, 8),
    ),
    "softplus": (lambda x: np.logaddexp(0, x), sigmoid, lambda x: sigmoid(x) * sigmoid(-x), (-15, 15)),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0), np.zeros_like, (-3, 3)),
    "elu": (
        lambda x: np.where(x < 0, np.expm1(x), x),
        lambda x: np.where(x < 0, np.exp(x), 1.0),
        lambda x: np.where(x < 0, np.exp(x), 0.0),
        (-9, 3),
    ),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x), lambda x: -0.25 * x**-1.5, (0.01, 90)),
    "rsqrt": (lambda x: x**-0.5, lambda x: -0.5 * x**-1.5, lambda x: 0.75 * x**-2.5, (0.01, 90)),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3, (0.01, 90)),
    "sin": (np.sin, np.cos, lambda x: -np.sin(x), (-7, 7)),
    "cos": (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), (-7, 7)),
    "erf": (
        erf,
        lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x),
        lambda x: -4 * x / np.sqrt(np.pi) * np.exp(-x * x),
        (-3, 3),
    ),
}
DTYPES = [np.float32, np.float64]


def program_of_all(dtype: type) -> tuple[Program, list[Routine]]:
    """A routine for each function: f, f' and f''."""
    program = Program(np.dtype(dtype))
    x = program.input("x", 1)
    one = program.constant(np.ones(1))
    routines = []
    for name in CLOSED_FORMS:
        f = program.unary(name, x)
        (first,) = tangents(program, [f], {x: one})
        (second,) = tangents(program, [first], {x: one})
        routines.append(Routine(f"f_{name}", {"x": x}, {"f": f, "df": first, "d2f": second}))
    return program, routines


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_derivatives_have_their_closed_forms(compiled: Callable, dtype: type):
    """Of every function, over the range in which networks use it."""
    kernels = compiled(*program_of_all(dtype))
    for name, (f, first, second, (low, high)) in CLOSED_FORMS.items():
        x = np.linspace(low, high, 1001).astype(dtype)
        exact = x.astype(np.float64)
        outputs = kernels.run(f"f_{name}", x=x[:, None])
        for output, closed in (("f", f), ("df", first), ("d2f", second)):
            expected = closed(exact)
            # Values keep their digits where they are small; 1 - tanh², as TensorFlow has it, does not.
            least = 1e-6 if output == "f" else 0.25 * max(1.0, np.abs(expected).max())
            scale = np.maximum(np.abs(expected), least)
            assert np.all(np.abs(outputs[output][:, 0] - expected) <= 16 * np.finfo(dtype).eps * scale), (name, output)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_arguments(compiled: Callable, dtype: type):
    """NaN stays, infinities and what overflows have their limits, and what is tiny is not lost."""
    kernels = compiled(*program_of_all(dtype))
    tiny = np.finfo(dtype).tiny
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e3, -1e3, tiny, -tiny, 1e-5], dtype)
    with np.errstate(all="ignore"):
        for name in ("exp", "expm1", "tanh", "sigmoid", "softplus", "relu", "elu"):
            expected = CLOSED_FORMS[name][0](x.astype(np.float64)).astype(dtype)
            value = kernels.run(f"f_{name}", x=x[:, None])["f"][:, 0]
            np.testing.assert_allclose(value, expected, rtol=8 * np.finfo(dtype).eps, atol=tiny, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_may_be_subnormal(compiled: Callable, dtype: type):
    """What the dtype still resolves below its smallest normal number is not lost."""
    kernels = compiled(*program_of_all(dtype))
    x = np.linspace(np.log(np.finfo(dtype).tiny) - 10, np.log(np.finfo(dtype).tiny) + 2, 50).astype(dtype)
    value = kernels.run("f_exp", x=x[:, None])["f"][:, 0]
    np.testing.assert_allclose(
        value, np.exp(x.astype(np.longdouble)).astype(dtype), rtol=1e-4, atol=2 * np.finfo(dtype).smallest_subnormal
    )
