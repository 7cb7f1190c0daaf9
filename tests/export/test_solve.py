"""Signatures that solve: closed forms, rows without a solution, what is refused, and a package that serves them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import CheckFailed, UsageError
from gradwire._package import Domain
from gradwire_export import export
from gradwire_export._package import solve as solving
from gradwire_export._package.solve import solve_body, solve_specs
from gradwire_export._sources.function import function_of
from gradwire_serving import EmbeddedServer, ServerOptions

TARGETS = 101

# f(x, a), its inverse in x, the domain of x: a is 2 or between 1 and 2.
CASES = {
    "exp": (lambda x, a: tf.exp(x) * a, lambda t, a: np.log(t / a), (-3.0, 3.0)),
    "log": (lambda x, a: tf.math.log(x) + a, lambda t, a: np.exp(t - a), (0.1, 1.9)),
    "cubic": (lambda x, a: x**3 + a * x, None, (-2.0, 1.0)),
    "decreasing": (lambda x, a: a * tf.exp(-x), lambda t, a: -np.log(t / a), (-1.0, 4.0)),
    "kink": (lambda x, a: a * tf.maximum(x, 3 * x), lambda t, a: np.where(t > 0, t / (3 * a), t / a), (-1.0, 1.5)),
    "steep": (lambda x, a: a * tf.tanh(8 * (x - 0.3)), lambda t, a: 0.3 + np.arctanh(t / a) / 8, (0.0, 1.0)),
    "nine decades": (lambda x, a: tf.math.log(x) * a, lambda t, a: np.exp(t / a), (1e-4, 1e5)),
    "root at zero": (lambda x, a: a * tf.math.expm1(x), lambda t, a: np.log1p(t / a), (-1.0, 1.0)),
}


def signature(f, domain, dtype=tf.float64, *, jit=False, **options):
    """A signature that solves, as a package has it: inside a tf.function; and its function."""
    spec = tf.TensorSpec((None, 1), dtype)
    function = function_of(f, inputs={"x": spec, "a": spec})
    (solve,) = solve_specs(
        function, [("x", "f")], {"x": Domain(*([end] for end in domain))}, (), lambda _: 1.0
    ).values()
    body = solve_body(function, solve, (), **options)
    traced = tf.function(body, autograph=False, jit_compile=jit).get_concrete_function(solve.inputs(function))

    def run(target, a=2.0):
        target = np.asarray(target, dtype.as_numpy_dtype).reshape(-1, 1)
        a = np.broadcast_to(np.asarray(a, dtype.as_numpy_dtype).reshape(-1, 1), target.shape)
        return {name: tensor.numpy() for name, tensor in traced(f=tf.constant(target), a=tf.constant(a)).items()}

    return run


def values(f, x, a=2.0, dtype=np.float64):
    """F in a dtype."""
    x = np.asarray(x, dtype).reshape(-1, 1)
    return f(tf.constant(x), tf.constant(np.broadcast_to(np.asarray(a, dtype), x.shape))).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, tf.float64) for name in CASES] + [(name, tf.float32) for name in ("exp", "decreasing", "steep", "kink")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_the_inverse_of_a_closed_form(name, dtype):
    """Every target is met to rounding, both ends of the domain too, in the order of the rows, with its derivatives."""
    f, inverse, domain = CASES[name]
    inverse = inverse or _inverse_of_cubic
    eps = float(np.finfo(dtype.as_numpy_dtype).eps)
    places = np.random.default_rng(0).permutation(np.linspace(*domain, TARGETS))
    target = values(f, places, dtype=dtype.as_numpy_dtype)
    got = signature(f, domain, dtype)(target)
    assert got["converged"].all(), places[~got["converged"]]
    x, wide = got["x"].astype(np.float64), target.astype(np.float64)
    assert (
        (x >= np.float64(dtype.as_numpy_dtype(domain[0]))) & (x <= np.float64(dtype.as_numpy_dtype(domain[1])))
    ).all()
    t = np.clip(wide, *sorted(values(f, domain).ravel()))
    expected = inverse(t, 2.0)
    slope = 1 / np.abs(got["dx_df"]).astype(np.float64)
    condition = np.abs(expected) + (np.abs(wide) + 2 * np.abs(got["dx_da"]) * slope) / slope + eps
    assert (np.abs(x - expected) <= 32 * eps * condition).all()
    np.testing.assert_allclose(got["residual"], values(f, got["x"], dtype=dtype.as_numpy_dtype) - target, atol=64 * eps)
    _compare_with_differences(got, inverse, t, eps)


def _compare_with_differences(got, inverse, t, eps):
    """dx/dtarget and dx/da against central differences of the inverse in float64, away from the ends and kinks."""
    h = 1e-6
    inner = (np.abs(t) > 1e-3) & (t > t.min() + 1e-3) & (t < t.max() - 1e-3)
    for tensor, moved in (
        ("dx_df", (inverse(t + h, 2.0) - inverse(t - h, 2.0)) / (2 * h)),
        ("dx_da", (inverse(t, 2.0 + h) - inverse(t, 2.0 - h)) / (2 * h)),
    ):
        np.testing.assert_allclose(got[tensor][inner], moved[inner], rtol=max(1e-5, 1e3 * eps), atol=1e-8)


def _inverse_of_cubic(t, a):
    """Cardano's only real root of x³ + a x = t, for a > 0."""
    root = np.sqrt(t * t / 4 + a**3 / 27)
    return np.cbrt(t / 2 + root) + np.cbrt(t / 2 - root)


@pytest.mark.parametrize(
    ("f", "domain", "target", "solved"),
    [
        (lambda x, a: tf.exp(x) + 0 * a, (-1.0, 1.0), [0.3, 0.4, 2.7, 2.8, -1.0, 1e300], [0, 1, 1, 0, 0, 0]),
        (lambda x, a: tf.exp(-x) + 0 * a, (-1.0, 1.0), [0.3, 0.4, 2.7, 2.8, -np.inf, np.inf], [0, 1, 1, 0, 0, 0]),
        (lambda x, a: x * x + 0 * a, (-1.0, 1.0), [0.25, 0.81, 1.0, -0.1, 1.1], [1, 1, 1, 0, 0]),
        (lambda x, a: tf.sin(7 * x) + 0 * a, (-1.0, 1.0), [0.0, 0.9, 1.5], [1, 1, 0]),
        (lambda x, a: tf.floor(x) + 0 * a * x, (-1.5, 1.5), [0.5, np.nan], [0, 0]),  # it jumps across
        (lambda x, a: 1 / x + 0 * a, (-1.0, 1.1), [0.0, 2.0, -4.0], [0, None, None]),  # a pole is no root
        (lambda x, a: tf.sqrt(x) + 0 * a, (-1.0, 4.0), [0.5, 1.5, np.nan], [None, None, 0]),  # NaN at an end
        (lambda x, a: 0 * x + a, (-1.0, 1.0), [1.9, 2.1], [0, 0]),
    ],
    ids=["below and above", "decreasing", "parabola", "sine", "step", "pole", "partly NaN", "constant"],
)
def test_what_has_no_solution_is_flagged(f, domain, target, solved):
    """No row without a root is said to have one; a root found within the domain counts, whatever the function does."""
    got = signature(f, domain)(target)
    assert [now for now, told in zip(got["converged"], solved, strict=True) if told is not None] == [
        told
        for told in solved
        if told is not None  # None: it may be flagged, for the ends do not bracket it
    ]
    for tensor in ("x", "dx_df", "dx_da"):
        assert np.isnan(got[tensor][~got["converged"]]).all()
    x = got["x"][got["converged"]]
    assert ((x >= domain[0]) & (x <= domain[1])).all()
    reached = np.array(target)[got["converged"]]
    np.testing.assert_allclose(values(f, x)[:, 0], reached, rtol=1e-13, atol=1e-13)


def test_rows_need_not_be_gathered():
    """Where XLA compiles a signature no loop may choose its rows: the same solutions."""
    target = np.linspace(-2.5, 2.5, TARGETS)
    gathered, whole = (
        signature(lambda x, a: a * tf.tanh(8 * x), (-1.0, 1.0), gathers=gathers)(target) for gathers in (True, False)
    )
    for tensor, array in gathered.items():
        np.testing.assert_array_equal(whole[tensor], array)


@pytest.mark.slow  # XLA compiles it
def test_xla_compiles_it():
    """Rows that are not gathered need no shape of their own."""
    f, _, domain = CASES["exp"]
    target = np.linspace(0.05, 45, 8)
    plain, compiled = (signature(f, domain, gathers=not jit, jit=jit)(target) for jit in (False, True))
    np.testing.assert_array_equal(compiled["converged"], plain["converged"])
    np.testing.assert_allclose(compiled["x"], plain["x"], rtol=1e-14)
    assert 0 < plain["converged"].sum() < len(target)


def test_the_residual_of_a_flagged_row_tells_how_far_the_target_is():
    """It is f at the nearer end of the domain, minus the target."""
    got = signature(lambda x, a: x + 0 * a, (0.0, 1.0))([1.5, -0.25])
    np.testing.assert_allclose(got["residual"], [[-0.5], [0.25]])


def test_rows_of_nan_disturb_no_other():
    """NaN for a target or an input is flagged, also where f would not pass it on."""
    rows = 64
    run = signature(lambda x, a: x**3 + tf.nn.relu(a) * x, (-2.0, 2.0))
    target, a = np.linspace(-3, 3, rows), np.full(rows, 1.0)
    clean = run(target, a)
    target[::3], a[1::3] = np.nan, np.nan
    got = run(target, a)
    assert got["converged"].tolist() == [row % 3 == 2 for row in range(rows)]
    for tensor, array in clean.items():
        np.testing.assert_array_equal(got[tensor][2::3], array[2::3])


def test_no_rows_are_no_rows():
    """Empty arrays of the right shapes."""
    got = signature(lambda x, a: x * a, (0.0, 1.0))(np.empty((0, 1)))
    assert {name: array.shape for name, array in got.items()} == {
        **dict.fromkeys(("x", "dx_df", "dx_da", "residual"), (0, 1)),
        "converged": (0,),
    }


@pytest.mark.parametrize(("target", "slope"), [(0.0, 0.0), (8.0, 12.0)])
def test_a_flat_spot_has_an_infinite_derivative(target, slope):
    """X³ = 0 at 0, where the slope is 0: the derivative of the root is infinite, and says so."""
    got = signature(lambda x, a: x**3 + 0 * a, (-3.0, 3.0))([target])
    assert got["converged"].all()
    assert np.abs(got["dx_df"]) == pytest.approx(np.inf if slope == 0 else 1 / slope)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([("w", "f")], {}, r"input 'w', whose rows are \(3,\), expected a scalar"),
        ([("x", "g")], {}, r"output 'g', whose rows are \(2,\), expected a scalar"),
        ([("f", "x")], {}, "solve names f:x, expected INPUT:OUTPUT, .* output of .*: write x:f"),
        ([("z", "f")], {}, r"solve names z:f, expected INPUT:OUTPUT, .* input of \['x', 'w', 'y'\]"),
        ([("n", "f")], {}, "solve names n:f, expected"),
        ([("x", "f")], {"domain": {}}, "the domain of 'x' is not known: give one"),
        ([("x", "f")], {"domain": {"x": Domain([1.0], [1.0])}}, "1.0 to 1.0, expected lower < upper"),
        ([("x", "f")], {"zeros": [("f", "x")]}, "zeros says that 'f' does not depend on 'x'"),
        ([("x", "f"), ("x", "f")], {}, "solve has x:f twice"),
        ([("x", "f")], {"third": "residual"}, "two tensors would be called 'residual'"),
    ],
)
def test_what_cannot_be_solved_is_refused(pairs, options, message):
    """By name, with what was expected."""
    third = options.get("third", "y")
    scalar, vector = tf.TensorSpec((None, 1), tf.float64), tf.TensorSpec((None, 3), tf.float64)
    function = function_of(
        lambda x, w, y, n: {"f": x + y, "g": w[:, :2]},
        inputs={"x": scalar, "w": vector, third: scalar, "n": tf.TensorSpec((None,), tf.int32)},
        wrt=["x", "w", third],
    )
    domain, zeros = options.get("domain", {"x": Domain([0.0], [1.0])}), options.get("zeros", ())
    with pytest.raises(UsageError, match=message):
        solve_specs(function, pairs, domain, zeros, lambda _: 1.0)


def normal_cdf(x):
    """The normal distribution."""
    return 0.5 * tf.math.erfc(-x / np.sqrt(2.0))


def call_price(weights, volatility, maturity):
    """A Black-Scholes call struck at 100 on a basket of two, whose spot is a vector; no rate."""
    spot = tf.reduce_sum(weights, axis=1, keepdims=True)
    deviation = volatility * tf.sqrt(maturity)
    upper = tf.math.log(spot / 100) / deviation + deviation / 2
    return {"price": spot * normal_cdf(upper) - 100 * normal_cdf(upper - deviation)}


DOMAIN = {"weights": ([40.0, 40.0], [60.0, 60.0]), "volatility": (0.05, 1.0), "maturity": (0.25, 2.0)}
INPUTS = {name: tf.TensorSpec((None, np.size(lower)), tf.float64) for name, (lower, _) in DOMAIN.items()}


def export_option(to, **options):
    """A package that gives implied volatility and implied maturity."""
    options = {"solve": [("volatility", "price"), ("maturity", "price")], "signatures": [], "domain": DOMAIN} | options
    return export(call_price, to=to, inputs=INPUTS, **options)


@pytest.fixture(scope="module")
def option(run_in_one_process, tmp_path_factory):
    """That package, exported and proved once."""
    return export_option(tmp_path_factory.mktemp("models") / "option")


@pytest.fixture(params=["in process", "embedded server"])
def served(request, option):
    """The package, in a Session of this process, and served."""
    if request.param == "in process":
        with gradwire.load(option.path) as model:
            yield model
        return
    server = EmbeddedServer(ServerOptions(directory=option.path.parents[1], port=0))
    server.start()
    try:
        with gradwire.connect(server.address, "option") as model:
            yield model
    finally:
        server.stop()


@pytest.mark.slow  # the package of these tests takes seconds to export
def test_the_card_has_what_is_solved_and_the_proof(option):
    """Names, tensors and tolerance; the round trips of a fresh process, and the findings of verify."""
    card = option.card
    assert card.signatures[-2:] == ("solve_volatility_from_price", "solve_maturity_from_price")
    solve = card.solves["solve_volatility_from_price"]
    assert (solve.input, solve.output) == ("volatility", "price")
    assert solve.derivatives == {
        "price": "dvolatility_dprice",
        "weights": "dvolatility_dweights",
        "maturity": "dvolatility_dmaturity",
    }
    assert 0 < solve.tolerance < 1e-10
    assert gradwire.Card.from_json(card.to_json()).solves == card.solves
    trip = card.checks["round_trips"]["solve_volatility_from_price"]
    assert trip["targets"] == trip["solved"] == 128
    assert trip["worst_residual"] <= 1e-10
    assert card.checks["solve"]["passed"]
    assert len(card.checks["solve"]["findings"]) == 16
    assert option.left_out == {}


@pytest.mark.slow
def test_implied_volatility(served):
    """Of 2,000 prices to 1e-10 in the price, with the reciprocal of vega and the rest of the implicit derivatives."""
    rng, n = np.random.default_rng(1), 2000
    weights, maturity = rng.uniform(40, 60, (n, 2)), rng.uniform(0.25, 2, n)
    volatility = rng.uniform(0.1, 0.9, n)
    known = {"weights": weights, "maturity": maturity}
    price, grads = served.value_and_grad(**known, volatility=volatility, of="price")
    solution = served.solve(price=price, **known)
    assert solution.converged.all()
    assert np.abs(solution.residual).max() <= 1e-10
    np.testing.assert_allclose(solution.x, volatility, atol=1e-9)
    vega = grads["volatility"]
    np.testing.assert_allclose(solution.grads["price"], 1 / vega, rtol=1e-7)
    np.testing.assert_allclose(solution.grads["maturity"], -grads["maturity"] / vega, rtol=1e-6)
    np.testing.assert_allclose(solution.grads["weights"], -grads["weights"] / vega[:, None], rtol=1e-6)
    for name, h in (("price", 1e-4), ("maturity", 1e-4)):
        moved = [
            served.solve(**{"price": price, **known, name: {"price": price, **known}[name] + s * h}) for s in (1, -1)
        ]
        inner = moved[0].converged & moved[1].converged & (vega > 5)
        difference = (moved[0].x - moved[1].x)[inner] / (2 * h)
        assert inner.mean() > 0.9
        np.testing.assert_allclose(solution.grads[name][inner], difference, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_prices_that_no_volatility_has(served):
    """Below and above the values of the domain, NaN, and beside a good one; nothing is clipped."""
    solution = served.solve(price=[8.0, 1e-3, 99.0, np.nan], weights=[[50.0, 50.0]] * 4, maturity=1.0)
    assert solution.converged.tolist() == [True, False, False, False]
    assert np.isnan(solution.x).tolist() == [False, True, True, True]
    assert np.isnan(solution.grads["weights"]).tolist() == [[False] * 2, *[[True] * 2] * 3]
    assert served.solve(price=8.0, weights=[50.0, 50.0], maturity=1.0).x == solution.x[0]
    maturity = served.solve(price=8.0, weights=[50.0, 50.0], volatility=solution.x[0])
    assert maturity.x == pytest.approx(1.0)


def derivative_scaled(outputs):
    """One derivative is 0.1 % too large."""
    return outputs | {"dvolatility_dweights": outputs["dvolatility_dweights"] * 1.001}


def all_converged(outputs):
    """Every row is said to be solved."""
    return outputs | {"converged": tf.ones_like(outputs["converged"])}


def clipped(outputs):
    """Rows that are flagged have the end of the domain."""
    x = outputs["volatility"]
    return outputs | {"volatility": tf.where(tf.math.is_nan(x), tf.constant(1.0, x.dtype), x)}


def wrong_root(outputs):
    """Solutions are a little off, and their residuals are not told."""
    return outputs | {"volatility": outputs["volatility"] * (1 + 1e-9)}


FAULTS = {
    "derivative": (derivative_scaled, "'dvolatility_dweights' of solve_volatility_from_price is"),
    "flag": (all_converged, "says that it solved a row of NaN"),
    "clipped": (clipped, "returns numbers for 'volatility' in rows that are flagged"),
    "root": (wrong_root, r"has f\(x\) - target off by"),
}


@pytest.mark.slow  # exports a package for each fault
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_stops_the_export(name, run_in_one_process, without_card_checks, monkeypatch, tmp_path):
    """The comparison with the model in a fresh process finds it, and nothing is written."""
    fault, message = FAULTS[name]
    right = solving._solution
    monkeypatch.setattr(solving, "_solution", lambda *arguments: fault(right(*arguments)))
    with pytest.raises(CheckFailed, match=message):
        export_option(tmp_path / "option", solve=[("volatility", "price")])
    assert not list(tmp_path.glob("option/*"))


@pytest.mark.slow  # exports a package
def test_a_function_that_is_never_solved_is_refused(run_in_one_process, without_card_checks, monkeypatch, tmp_path):
    """The message says to leave it out."""
    right = solving._Equation.step
    monkeypatch.setattr(
        solving._Equation,
        "step",
        lambda *arguments: right(*arguments)._replace(x=arguments[2].lower, done=arguments[2].done),
    )
    monkeypatch.setattr(solving, "MOST", 8)
    with pytest.raises(CheckFailed, match=r"solves none of 128 targets .* leave it out of solve"):
        export_option(tmp_path / "option", solve=[("volatility", "price")])


@pytest.mark.slow  # exports two versions
def test_a_version_without_the_signature_is_refused(run_in_one_process, without_card_checks, option, tmp_path):
    """Callers of the old version would lose it."""
    export_option(tmp_path / "option", solve=[("volatility", "price")])
    with pytest.raises(UsageError, match="now without the signatures solve_volatility_from_price"):
        export_option(tmp_path / "option", solve=[])
    assert replace(option.card, solves={}).solves == {}
