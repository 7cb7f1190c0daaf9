"""The check of points that random ones never hit: right derivatives pass, kinks are reported, wrong ones fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import Card, CardTensor, Check, Domain, FakeTransport, Model

Rows = Callable[[np.ndarray], np.ndarray]


def model_of(
    f: Rows,
    df: Rows,
    d2f: Rows | None = None,
    *,
    jvp: Rows | None = None,
    vjp: Rows | None = None,
    n: int = 2,
    box: tuple[float, float] = (-2, 3),
    dtype: str = "float64",
) -> Model:
    """A fake of a scalar function of n elements, ``(rows, n)`` to ``(rows,)``, with its gradient and Hessian.

    ``jvp`` and ``vjp`` are the gradients that these products are made of.
    """

    def default(x: np.ndarray) -> dict[str, Any]:
        with np.errstate(all="ignore"):
            return {"f": f(x)[:, None].astype(dtype), "df_dx": df(x).astype(dtype)}

    def hvp(x: np.ndarray, x_dot: np.ndarray) -> dict[str, Any]:
        assert d2f is not None
        with np.errstate(all="ignore"):
            along = np.einsum("rij,rj->ri", d2f(x), x_dot)
        return default(x) | {"df_dx_dot": along.astype(dtype)}

    def hessian(x: np.ndarray) -> dict[str, Any]:
        assert d2f is not None
        with np.errstate(all="ignore"):
            return default(x) | {"d2f_dx2": d2f(x).astype(dtype)}

    def forward(x: np.ndarray, x_dot: np.ndarray) -> dict[str, Any]:
        assert jvp is not None
        with np.errstate(all="ignore"):
            along = (jvp(x) * x_dot).sum(axis=1, keepdims=True)
        return {"f": default(x)["f"], "f_dot": along.astype(dtype)}

    def reverse(x: np.ndarray, f_bar: np.ndarray) -> dict[str, Any]:
        assert vjp is not None
        with np.errstate(all="ignore"):
            return {"f": default(x)["f"], "x_bar": (vjp(x) * f_bar).astype(dtype)}

    products = {"jvp": (jvp, forward), "vjp": (vjp, reverse), "hvp": (d2f, hvp), "hessian": (d2f, hessian)}
    functions = {"serving_default": default} | {name: run for name, (part, run) in products.items() if part is not None}
    card = Card(
        name="f",
        inputs=(CardTensor("x", dtype, (n,), domain=Domain([box[0]] * n, [box[1]] * n)),),
        outputs=(CardTensor("f", dtype, (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        second_derivatives={} if d2f is None else {"f": {"x": {"x": "d2f_dx2"}}},
        signatures=tuple(functions),
    )
    return Model(FakeTransport(functions, card=card))


def special(model: Model, **options: Any) -> Check:
    """The check of special points."""
    return next(check for check in gradwire.verify(model, **options).checks if check.name == "special")


def product(x: np.ndarray) -> np.ndarray:
    """The product of a row's elements."""
    return x.prod(axis=1)


def others(x: np.ndarray) -> np.ndarray:
    """Its gradient: the products of the others."""
    return np.stack([np.delete(x, i, axis=1).prod(axis=1) for i in range(x.shape[1])], axis=1)


def divided(x: np.ndarray) -> np.ndarray:
    """Its gradient as TensorFlow computes that of a cumulative product: nothing where an element is zero."""
    return np.where((x == 0).any(axis=1, keepdims=True), 0.0, others(x))


def swap(x: np.ndarray) -> np.ndarray:
    """The Hessian of a product of two."""
    return np.broadcast_to([[0.0, 1.0], [1.0, 0.0]], (len(x), 2, 2))


def powers(x: np.ndarray) -> np.ndarray:
    """x₀ + x₁² + x₂³."""
    return (x ** [1, 2, 3]).sum(axis=1)


def bent_powers(x: np.ndarray, *, nan: bool) -> np.ndarray:
    """Their Hessian; that of x itself as 0 times x⁻¹, or as 0."""
    diagonal = np.array([0, 2, 6]) * x ** [-1.0 if nan else 1.0, 0, 1]
    return diagonal[:, :, None] * np.eye(3)


RIGHT: dict[str, tuple[Rows, Rows]] = {
    "product": (product, others),
    "sine": (lambda x: np.sin(3 * x).sum(1), lambda x: 3 * np.cos(3 * x)),
    "square of a positive part": (lambda x: (np.maximum(x, 0) ** 2).sum(1), lambda x: 2 * np.maximum(x, 0)),
    "steep": (lambda x: np.tanh(50 * x).sum(1), lambda x: 50 / np.cosh(50 * x) ** 2),
    "far off": (lambda x: 1e4 + (x * x).sum(1), lambda x: 2 * x),
    "constant": (lambda x: 0 * x[:, 0] + 2, lambda x: 0 * x),
    "a jump": (lambda x: (x + np.floor(x)).sum(1), np.ones_like),
    "an infinite derivative": (lambda x: np.cbrt(x).sum(1), lambda x: 1 / (3 * np.cbrt(x) ** 2)),
    "a logarithm, not finite in half the domain": (lambda x: np.log(x).sum(1), lambda x: 1 / x),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_derivatives_pass(name: str, dtype: str):
    """For every seed; a jump and an infinite derivative are no finite derivative that could be wrong."""
    for seed in range(4):
        check = special(model_of(*RIGHT[name], dtype=dtype), seed=seed)
        assert check.passed, (seed, check.findings)
        assert check.findings[0].worst is not None


KINKS: dict[str, tuple[Rows, Rows]] = {
    "abs": (lambda x: np.abs(x).sum(1), np.sign),
    "ReLU": (lambda x: np.maximum(x, 0).sum(1), lambda x: (x > 0) * 1.0),
    "maximum": (lambda x: x.max(1), lambda x: (x == x.max(1, keepdims=True)) * 1.0),
    "norm": (lambda x: np.linalg.norm(x, axis=1), lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)),
    "clipped": (lambda x: np.clip(x, -1, 1).sum(1), lambda x: (np.abs(x) <= 1) * 1.0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_reported_and_fail_nothing(name: str, dtype: str):
    """Where one-sided differences differ there is no derivative: whatever is served, NaN too, is not judged."""
    check = special(model_of(*KINKS[name], dtype=dtype))
    assert check.passed, check.findings
    assert "kinks at" in check.findings[0].note


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_derivative_that_is_wrong_at_zero_fails(dtype: str):
    """A product of which an element is zero, of two and of three: the place, what was got and the truth are named."""
    for n in (2, 3):
        for seed in range(4):
            found = gradwire.verify(model_of(product, divided, n=n, dtype=dtype), seed=seed)
            assert {failure.split(":")[0] for failure in found.failures} == {"special"}
            (finding,) = (finding for finding in found.checks[6].findings if not finding.passed)
            assert "= 0 (x = [" in finding.note
            assert "got 0, differences give" in finding.note
            assert set(found.wrong_signatures()) == {"serving_default"}


def test_a_derivative_that_is_wrong_at_other_special_points_fails():
    """Where two elements are equal, at an integer, and at a bound where the function goes on inside."""
    off = {
        "equal": lambda x: x[:, :1] == x[:, 1:],
        "integers": lambda x: (x == np.rint(x)) & (x != 0),
    }
    for text, where in off.items():
        wrong = model_of(lambda x: np.sin(x).sum(1), lambda x, where=where: np.cos(x) + where(x))
        for seed in range(4):
            check = special(wrong, seed=seed)
            assert not check.passed, text
            assert "differences give" in check.findings[0].note


def test_nan_where_differences_converge_fails():
    """The value is finite and smooth there; the Hessian of a plain x is NaN where it comes from powers."""
    smooth = model_of(lambda x: (x**3).sum(1), lambda x: np.where(x == 0, np.nan, 3 * x * x))
    check = special(smooth)
    assert not check.passed
    assert "got nan, differences give" in check.findings[0].note
    gradient: Rows = lambda x: np.array([1, 2, 3]) * x ** [0, 1, 2]  # noqa: E731 - as short as the others
    for nan in (False, True):
        model = model_of(powers, gradient, lambda x, nan=nan: bent_powers(x, nan=nan), n=3)
        wrong = gradwire.verify(model).wrong_signatures()
        assert set(wrong) == ({"hvp", "hessian"} if nan else set())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RIGHT)
def test_products_with_right_derivatives_pass(name: str, dtype: str):
    """`jvp` and `vjp` of the same functions."""
    f, df = RIGHT[name]
    for seed in range(2):
        check = special(model_of(f, df, jvp=df, vjp=df, dtype=dtype), seed=seed)
        assert check.passed, (seed, check.findings)
        assert [finding.subject.split()[0] for finding in check.findings] == ["df·v", "f_dot", "x_bar·v"]


@pytest.mark.parametrize("signature", ["jvp", "vjp"])
def test_a_product_that_is_wrong_at_zero_alone_fails(signature: str):
    """What `serving_default` has right: random points cannot tell."""
    products: dict[str, Rows] = {"jvp": others, "vjp": others} | {signature: divided}
    for seed in range(4):
        found = gradwire.verify(model_of(product, others, **products), seed=seed)
        assert {failure.split(":")[0] for failure in found.failures} == {"special"}
        assert set(found.wrong_signatures()) == {signature}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_hessian_that_is_wrong_at_zero_fails(dtype: str):
    """Half of the symmetric Hessian of a product is lost where the other element is zero."""

    def half(x: np.ndarray) -> np.ndarray:
        return np.where((x[:, :1] == 0)[:, :, None] & (np.arange(2) == 0), 0.0, swap(x))

    assert special(model_of(product, others, swap, dtype=dtype)).passed
    for seed in range(4):
        found = gradwire.verify(model_of(product, others, half, dtype=dtype), seed=seed)
        assert set(found.wrong_signatures()) == {"hvp", "hessian"}


def test_a_kink_of_the_gradient_has_no_second_derivative():
    """The square of a positive part: whatever the Hessian is at zero, it is one-sided."""
    f, df = RIGHT["square of a positive part"]
    model = model_of(f, df, lambda x: 2 * (x > 0)[:, :, None] * np.eye(2))
    check = special(model)
    assert check.passed, check.findings
    assert any("kinks at" in finding.note for finding in check.findings[1:])


def test_no_step_leaves_the_domain():
    """Not at corners and faces either; on a border there is one side, which decides nothing."""
    asked: list[np.ndarray] = []

    def f(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return np.abs(x).sum(1)

    check = special(model_of(f, np.sign, box=(0, 1)))
    assert check.passed
    points = np.concatenate(asked)
    finite = points[np.isfinite(points)]
    assert (finite.min(), finite.max()) == (0, 1)


def test_many_elements_stay_cheap():
    """A thousand of them: some are tried, and the rows are bounded."""
    rows: list[int] = []

    def f(x: np.ndarray) -> np.ndarray:
        rows.append(len(x))
        return np.sin(x).sum(1)

    assert special(model_of(f, np.cos, n=1000), points=8).passed
    assert max(rows) <= 64 * 3 * 2 * 12
