"""`verify`: right derivatives pass, planted faults fail, for every seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import CardTensor, Domain, FakeTransport, Model

SEEDS = range(6)
WEIGHTS = [np.random.default_rng(5).normal(size=shape) for shape in ((1, 20), (20,), (20, 20), (20,), (20, 1))]


def function(f: Callable[..., Any], df: Callable[..., Any], dtype: str, lower: float, upper: float) -> Model:
    """A fake of one input x and one output f, both of n = 1."""

    def both(x: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            return {"f": f(x).astype(dtype), "df_dx": df(x).astype(dtype)}

    card = gradwire.Card(
        name="f",
        inputs=(CardTensor("x", dtype, (1,), domain=Domain([lower], [upper])),),
        outputs=(CardTensor("f", dtype, (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default",),
    )
    return Model(FakeTransport({"serving_default": both}, card=card))


def network(activation: Callable[[Any], Any], slope: Callable[[Any], Any], dtype: str) -> Model:
    """A 1-20-20-1 network on [-2, 2], computed in its dtype."""
    a, b, c, d, e = (weight.astype(dtype) for weight in WEIGHTS)

    def df(x: np.ndarray) -> np.ndarray:
        first = x @ a + b
        second = activation(first) @ c + d
        return ((((slope(second) * e.T) @ c.T) * slope(first)) @ a.T).astype(dtype)

    return function(lambda x: activation(activation(x @ a + b) @ c + d) @ e, df, dtype, -2, 2)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-z))


RIGHT: dict[str, Callable[[str], Model]] = {
    "log": lambda dtype: function(np.log, lambda x: 1 / x, dtype, 0.1, 1.9),
    "linear": lambda dtype: function(lambda x: 3 * x + 1, lambda x: 3 + 0 * x, dtype, -1, 1),
    "constant": lambda dtype: function(lambda x: 0 * x + 2, lambda x: 0 * x, dtype, -1, 1),
    "zero": lambda dtype: function(lambda x: 0 * x, lambda x: 0 * x, dtype, -1, 1),
    "wavy": lambda dtype: function(lambda x: np.sin(30 * x), lambda x: 30 * np.cos(30 * x), dtype, -1, 1),
    "steep": lambda dtype: function(lambda x: np.exp(10 * x), lambda x: 10 * np.exp(10 * x), dtype, -1, 1),
    "offset": lambda dtype: function(lambda x: 1000 + x * x, lambda x: 2 * x, dtype, -1, 1),
    "far off": lambda dtype: function(lambda x: np.sin(x - 1000), lambda x: np.cos(x - 1000), dtype, 1000, 1001),
    "wide": lambda dtype: function(lambda x: x * x / 1e6, lambda x: 2 * x / 1e6, dtype, 0, 1e6),
    "kinked": lambda dtype: function(np.abs, np.sign, dtype, -1, 1),
    "sigmoid network": lambda dtype: network(sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)), dtype),
    "relu network": lambda dtype: network(lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, dtype),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_derivatives_pass(name: str, dtype: str):
    """A right derivative passes for every seed, smooth or kinked, however scaled; a linear f needs no slope."""
    model = RIGHT[name](dtype)
    for seed in SEEDS:
        (check,) = gradwire.verify(model, seed=seed).derivatives
        assert check.passed, (seed, check)
        assert check.slope is None or check.slope > 1.8
        assert check.disagreement < 0.8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_several_inputs_pass(make_multi: Callable[..., Model], dtype: str):
    """Every derivative of several inputs and outputs is checked, vectors and one that is zero throughout included."""
    for seed in SEEDS:
        found = gradwire.verify(make_multi(dtype), seed=seed)
        assert found.passed, (seed, found)
        pairs = [(check.output, check.input) for check in found.derivatives]
        assert pairs == [(output, wrt) for output in "fgw" for wrt in "xt"]
        assert {check.points for check in found.derivatives} == {64}


@pytest.mark.parametrize(
    ("name", "dtype", "factor"),
    [
        ("log", "float64", 1.01),
        ("log", "float64", 1.001),
        ("log", "float64", 1.00001),
        ("log", "float32", 1.01),
        ("log", "float64", -1.0),
        ("log", "float32", 0.0),
        ("linear", "float64", 1.001),
        ("linear", "float32", 1.01),
        ("sigmoid network", "float64", 1.001),
        ("sigmoid network", "float32", 1.01),
        ("relu network", "float64", 1.001),
        ("relu network", "float32", 1.01),
        ("wavy", "float32", 1.01),
    ],
)
def test_scaled_derivatives_fail(name: str, dtype: str, factor: float):
    """A derivative off by a hair more than rounding fails for every seed, in both tests where f is smooth."""
    right = RIGHT[name](dtype)

    def both(x: np.ndarray) -> dict[str, np.ndarray]:
        found = right.predict("serving_default", x=x)
        return found | {"df_dx": (found["df_dx"] * factor).astype(dtype)}

    model = Model(FakeTransport({"serving_default": both}, card=right.card))
    for seed in SEEDS:
        (check,) = gradwire.verify(model, seed=seed).derivatives
        assert not check.passed, (seed, check)
        assert check.disagreement > 1
        assert dtype == "float32" or check.slope == pytest.approx(1, abs=0.1)


def negated(array: np.ndarray) -> np.ndarray:
    """The first component with the other sign."""
    return np.concatenate([-array[..., :1], array[..., 1:]], -1)


def swapped(array: np.ndarray) -> np.ndarray:
    """The first two components swapped."""
    return array[..., [1, 0, 2]]


def other_row(array: np.ndarray) -> np.ndarray:
    """Each row's derivative at the next row."""
    return np.roll(array, 1, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tensor", ["f_by_space", "g_by_space", "w_by_space"])
@pytest.mark.parametrize("fault", [negated, swapped, other_row])
def test_faults_of_one_component_fail(
    make_multi: Callable[..., Model], closed_forms: dict[str, Any], fault: Any, tensor: str, dtype: str
):
    """A sign, two components swapped, or rows mixed up: that derivative fails, and no other, for every seed."""
    exact = closed_forms["multi"]
    model = make_multi(dtype, lambda **inputs: (found := exact(**inputs)) | {tensor: fault(found[tensor])})
    for seed in SEEDS:
        failed = [check.tensor for check in gradwire.verify(model, seed=seed).derivatives if not check.passed]
        assert failed == [tensor], seed


def test_no_step_leaves_the_domain():
    """F is asked for nothing outside the domain, at its very border included; NaN, infinities and no rows aside."""
    seen: list[np.ndarray] = []

    def f(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return np.log(x)

    model = function(f, lambda x: 1 / x, "float32", 0.1, 1.9)
    assert gradwire.verify(model, domain={"x": (0.25, 0.5)}, points=500).passed
    asked = np.concatenate(seen)
    assert asked[np.isfinite(asked)].min() >= 0.25
    assert asked[np.isfinite(asked)].max() <= 0.5


def test_value_and_serving_default_are_held_against_each_other(log: Model, closed_forms: dict[str, Any]):
    """A `value` that computes another function fails, though each signature is right by itself."""
    functions = {"serving_default": closed_forms["log"], "value": lambda x: {"f": np.log(x) + 1e-3}}
    assert not gradwire.verify(Model(FakeTransport(functions, card=log.card))).passed


def test_points_where_f_is_not_finite_do_not_count():
    """Where f is NaN nothing can be said; where f is fine and df is NaN, df is wrong."""
    right = function(np.log, lambda x: 1 / x, "float64", -1, 1)
    (check,) = gradwire.verify(right).derivatives
    assert check.passed
    assert 5 < check.points < 64
    wrong = function(np.log, lambda x: np.where(x > 1, np.nan, 1 / x), "float64", 0.1, 1.9)
    (check,) = gradwire.verify(wrong).derivatives
    assert not check.passed
    assert check.disagreement == math.inf
    assert not gradwire.verify(right, domain={"x": (-2, -1)}).passed


def test_a_caller_s_options_do_not_reach_the_proof(log: Model):
    """A model that refuses points outside its domain, or keeps answers, is proved as any other."""
    model = Model(log._transport, on_extrapolation="raise", memoize=1000)
    assert gradwire.verify(model).passed
    with pytest.raises(gradwire.ExtrapolationError):
        model.value(5.0)


def test_domain_of_the_card_and_none(log: Model):
    """Bounds come from the argument, else the card, else [-1, 1]; a card's null is an unknown bound."""
    assert [float(bound[0]) for bound in gradwire.verify(log).domain["x"]] == [0.1, 1.9]
    assert [float(bound[0]) for bound in gradwire.verify(log, domain={"x": (1, 2)}).domain["x"]] == [1, 2]
    half = replace(log.card.inputs[0], domain=Domain([None], [3.0]))
    card = replace(log.card, inputs=(half,))
    square = Model(FakeTransport({"serving_default": lambda x: {"f": x * x, "df_dx": 2 * x}}, card=card))
    assert [float(bound[0]) for bound in gradwire.verify(square).domain["x"]] == [-1, 3]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"points": 0}, gradwire.UsageError, "0 points"),
        (
            {"domain": {"y": (0, 1)}},
            gradwire.InputNameError,
            r"domain of \['y'\], expected inputs of the model: \['x'\]",
        ),
        ({"domain": {"x": (2, 1)}}, gradwire.UsageError, "lower <= upper"),
        ({"domain": {"x": (0, np.inf)}}, gradwire.UsageError, "finite bounds"),
        ({"domain": {"x": ([0, 1], 2)}}, gradwire.UsageError, "expected two numbers or arrays"),
        ({"rows": {"y": [1.0]}}, gradwire.InputNameError, r"sent extra: {y}; missing but required: {x} in rows"),
        ({"rows": {"x": []}}, gradwire.ShapeError, "{'x': 0} by input, expected one number, 1 or more"),
        (
            {"rows": {"x": [1.0, 2.0]}},
            gradwire.UsageError,
            r"row 1 .* x = \[2.\], and the domain is \[0.1\] to \[1.9\]",
        ),
        ({"rows": {"x": [1.0, np.nan]}}, gradwire.UsageError, r"row 1 .* x = \[nan\]"),
    ],
)
def test_misuse(log: Model, kwargs: dict[str, Any], error: type[Exception], message: str):
    """A domain or a number of points that cannot be is told."""
    with pytest.raises(error, match=message):
        gradwire.verify(log, **kwargs)


def test_rows_of_a_caller(make_multi: Callable[..., Model]):
    """Rows are the points, all of them or as many as asked for; what is wrong there alone is seen there alone."""

    def df(x: np.ndarray) -> np.ndarray:
        return 2 * x * np.where(np.abs(x - 0.7) < 1e-3, 1.01, 1)

    spot = function(lambda x: x * x, df, "float64", -1, 1)
    assert gradwire.verify(spot).passed
    assert not gradwire.verify(spot, rows={"x": [0.2, 0.7, 0.7]}).passed
    assert gradwire.verify(spot, rows={"x": [[0.2], [0.6]]}).points == 2
    border = gradwire.verify(spot, rows={"x": np.linspace(-1, 1, 500)}, points=20)
    assert border.passed, border.failures
    assert border.points == 20
    several = make_multi()
    rows = {"x": np.full((3, 3), 1.0), "t": np.ones(3)}
    assert gradwire.verify(several, rows=rows).points == 3
    with pytest.raises(gradwire.ShapeError, match="expected one number"):
        gradwire.verify(several, rows={**rows, "t": np.ones(2)})


def test_an_input_that_cannot_vary(log: Model, make_multi: Callable[..., Model]):
    """A domain of one point: a remark says that nothing can be differed there, and the rest is checked as ever."""
    found = gradwire.verify(log, domain={"x": (1, 1)})
    assert found.passed, found.failures
    assert "x is constant in the domain" in found.checks[0].findings[0].note
    assert found.derivatives == ()
    some = gradwire.verify(make_multi(), domain={"t": (0.5, 0.5)})
    assert some.passed, some.failures
    assert {check.input for check in some.derivatives} == {"x"}


def test_a_component_that_cannot_vary(make_multi: Callable[..., Model]):
    """A component whose bounds coincide stays where it is."""
    found = gradwire.verify(make_multi(), domain={"x": ([-1, 1, 2], [1, 1, 2])})
    assert found.passed
