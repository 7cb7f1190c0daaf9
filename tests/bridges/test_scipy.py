"""SciPy over served models: exact derivatives, and one call a point."""

from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import optimize

import gradwire
import gradwire.scipy
from gradwire.testing import FakeModel

START = np.array([-1.2, 1.0])


def curved_derivatives(x: np.ndarray, t: float) -> tuple[float, np.ndarray, np.ndarray]:
    """The closed form of ``curved`` at the vector (x₀, x₁, x₂, t)."""
    a, b, c = x
    s, cos, sin = t * t, np.cos(c), np.sin(c)
    f = s * (a * a * b + sin) + t * b * c
    grad = [2 * s * a * b, s * a * a + t * c, s * cos + t * b, 2 * t * (a * a * b + sin) + b * c]
    hess = np.array(
        [
            [2 * s * b, 2 * s * a, 0, 4 * t * a * b],
            [2 * s * a, 0, t, 2 * t * a * a + c],
            [0, t, -s * sin, 2 * t * cos + b],
            [4 * t * a * b, 2 * t * a * a + c, 2 * t * cos + b, 2 * (a * a * b + sin)],
        ]
    )
    return f, np.array(grad), hess


def test_a_point_is_one_call(served, point):
    """fun, jac and fun_and_jac at one point are one call, in any order, however the caller's array changes."""
    model, calls = served("curved")
    f = gradwire.scipy.wrap(model)
    x = np.append(*point)
    df = f.jac(x)
    value, (both, gradient) = f.fun(x), f.fun_and_jac(x)
    assert calls == [("serving_default", 1)]
    assert isinstance(value, float)
    assert value == both
    df[:] = 0  # the caller's own
    x[0] = 1.0
    assert f.fun(x) != value
    assert len(calls) == 2
    assert gradient.any()


def test_derivatives_are_those_of_the_closed_form(served, point, hidden):
    """Gradient, Hessian and its products with cross terms between two inputs; by the signature hessian, and by hvp."""
    model, calls = served("curved", hidden=hidden)
    f = gradwire.scipy.wrap(model)
    x, p = np.append(*point), np.array([1.0, -2.0, 0.5, 3.0])
    value, grad, hess = curved_derivatives(*point)
    np.testing.assert_allclose(f.fun(x), value, rtol=1e-13)
    np.testing.assert_allclose(f.jac(x), grad, rtol=1e-13)
    calls.clear()
    np.testing.assert_allclose(f.hess(x), hess, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(f.hessp(x, p), hess @ p, rtol=1e-12, atol=1e-14)
    assert [name for name, _ in calls] == ["hvp" if hidden else "hessian", "hvp"]
    assert f.jac(x) is not None
    assert len(calls) == 2, "the Hessian's call brought value and gradient along"


def test_products_without_hvp(served, point):
    """Where there is hessian alone, hessp multiplies it."""
    model, _ = served("curved", hidden=["hvp"])
    f = gradwire.scipy.wrap(model)
    p = np.array([1.0, -2.0, 0.5, 3.0])
    expected = curved_derivatives(*point)[2] @ p
    np.testing.assert_allclose(f.hessp(np.append(*point), p), expected, rtol=1e-12)


def test_no_second_derivatives_are_refused(served, point):
    """Without hvp and hessian there is an error that says so, never a difference quotient in disguise."""
    model, calls = served("curved", hidden=["hvp", "hessian"])
    f = gradwire.scipy.wrap(model)
    for ask in (f.hess, lambda x: f.hessp(x, x)):
        with pytest.raises(gradwire.SignatureNotFound, match="signatures hvp"):
            ask(np.append(*point))
    assert not calls


def test_several_outputs(served, point, hidden):
    """Of all outputs' numbers the Jacobian stands against differences, a weighted Hessian against the Jacobian's."""
    model, _ = served("pair", hidden=hidden)
    f = gradwire.scipy.wrap(model)
    x, v = np.append(*point), np.array([0.5, -1.0, 2.0])
    h = 1e-6 * np.eye(4)
    np.testing.assert_allclose(f.jac(x), np.transpose([(f.fun(x + e) - f.fun(x - e)) / 2e-6 for e in h]), atol=1e-8)
    differences = np.transpose([(v @ f.jac(x + e) - v @ f.jac(x - e)) / 2e-6 for e in h])
    np.testing.assert_allclose(f.hess(x, v), differences, atol=1e-8)
    with pytest.raises(gradwire.UsageError, match="weight"):
        f.hess(x)
    with pytest.raises(gradwire.UsageError, match="second derivatives"):
        f.hessp(x, x)


@pytest.mark.parametrize("method", ["BFGS", "Newton-CG", "trust-exact"])
def test_rosenbrock_takes_fewer_calls_than_differences(served, method):
    """A served valley is minimised with fewer calls than the same method makes with differences in place of jac."""
    model, calls = served("rosenbrock")
    f = gradwire.scipy.wrap(model)
    more = {"BFGS": {}, "Newton-CG": {"hessp": f.hessp}, "trust-exact": {"hess": f.hess}}[method]
    found = optimize.minimize(f.fun_and_jac, START, jac=True, method=method, **more)
    np.testing.assert_allclose(found.x, 1.0, atol=1e-4)
    exact = len(calls)
    if method == "BFGS":
        assert exact <= found.nfev, "one call a point"
    calls.clear()

    def value(x):
        return float(model.value(x))

    def slope(x):
        return optimize.approx_fprime(x, value)

    rival = {"hess": lambda x: optimize.approx_fprime(x, slope, 1e-4)} if method == "trust-exact" else {}
    optimize.minimize(value, START, jac=slope, method=method, **rival)
    assert 0 < exact < len(calls)


def test_a_square_of_the_log_takes_fewer_calls_than_differences(served):
    """(log x - c)² by least_squares and by minimize: the root, one call a point."""
    model, calls = served("log")
    f = gradwire.scipy.wrap(model)

    def square(x):
        value, slope = f.fun_and_jac(x)
        return (value - 0.5) ** 2, 2 * (value - 0.5) * slope

    fitted = optimize.least_squares(lambda x: f.fun(x) - 0.5, [3.0], jac=f.jac, xtol=1e-12)
    by_fit = len(calls)
    calls.clear()
    found = optimize.minimize(square, [3.0], jac=True, bounds=[(0.1, 9.0)], tol=1e-12)
    by_minimize = len(calls)
    calls.clear()
    optimize.minimize(lambda x: (float(model.value(x[0])) - 0.5) ** 2, [3.0], bounds=[(0.1, 9.0)], tol=1e-12)
    np.testing.assert_allclose([fitted.x[0], found.x[0]], np.exp(0.5), rtol=1e-6)
    assert by_fit == fitted.nfev
    assert by_minimize == found.nfev < len(calls)


def test_parameters_are_fixed(with_parameter):
    """Inputs without a derivative are given once; forgotten, unknown or differentiated ones are named."""
    f = gradwire.scipy.wrap(with_parameter, k=3.0)
    x = np.array([1.0, 2.0])
    assert f.fun(x) == 15.0
    np.testing.assert_array_equal(f.jac(x), [6.0, 12.0])
    np.testing.assert_array_equal(f.hess(x), 6 * np.eye(2))
    with pytest.raises(gradwire.InputNameError, match=r"missing but required: \{k\}"):
        gradwire.scipy.wrap(with_parameter)
    with pytest.raises(gradwire.UsageError, match="nothing is left to vary"):
        gradwire.scipy.wrap(with_parameter, k=3.0, x=x)
    with pytest.raises(gradwire.InputNameError, match=r"sent extra: \{y\}"):
        gradwire.scipy.wrap(with_parameter, k=3.0, y=x)


def test_a_differentiated_input_is_held_and_one_output_chosen(served, point, hidden):
    """Of the joined Jacobian and Hessians what belongs to the rest; the others are not even sent."""
    model, _ = served("pair", hidden=hidden)
    x, t = point
    whole, part = gradwire.scipy.wrap(model), gradwire.scipy.wrap(model, of="w", t=t)
    joined, p, v = np.append(x, t), np.array([1.0, -2.0, 0.5]), np.array([0.3, -1.1])
    np.testing.assert_array_equal(part.fun(x), whole.fun(joined)[1:])
    np.testing.assert_array_equal(part.jac(x), whole.jac(joined)[1:, :3])
    np.testing.assert_allclose(part.hess(x, v), whole.hess(joined, np.append(0, v))[:3, :3], rtol=1e-13, atol=1e-15)
    one = gradwire.scipy.wrap(model, of="f", x=x)
    np.testing.assert_allclose(one.jac(t), whole.jac(joined)[0, 3], rtol=1e-13)
    np.testing.assert_allclose(one.hess(t), whole.hess(joined, [1, 0, 0])[3, 3], rtol=1e-13)
    held = gradwire.scipy.wrap(model, of="f", t=t)
    np.testing.assert_allclose(held.hessp(x, p), held.hess(x) @ p, rtol=1e-13)
    with pytest.raises(gradwire.UsageError, match=r"of='g', expected an output: \['f', 'w'\]"):
        gradwire.scipy.wrap(model, of="g")


def test_points_in_columns(served, point):
    """The form of vectorized optimisers: one call for all of them, and the same numbers as one at a time."""
    model, calls = served("pair")
    f = gradwire.scipy.wrap(model, of="w", t=point[1])
    x = point[0][:, None] * np.linspace(0.5, 1.0, 5)
    calls.clear()
    values, slopes = f.fun(x), f.jac(x)
    assert [rows for _, rows in calls] == [5, 5]
    assert (values.shape, slopes.shape) == ((2, 5), (2, 3, 5))
    for index, column in enumerate(x.T):
        np.testing.assert_allclose(values[:, index], f.fun(column), rtol=1e-15)
        np.testing.assert_allclose(slopes[..., index], f.jac(column), rtol=1e-15)
    with pytest.raises(gradwire.ShapeError, match=r"expected \(3, points\)"):
        f.fun(x.T)


def test_another_number_of_entries_is_refused(served):
    """Only a 1-D point of the right length is one."""
    f = gradwire.scipy.wrap(served("rosenbrock")[0])
    for x in ([1.0], [[1.0, 2.0]], [1.0, 2.0, 3.0]):
        with pytest.raises(gradwire.ShapeError, match=r"expected \(2,"):
            f.fun(x)


def bowl() -> gradwire.Model:
    """In float32, as packages are by default: (x₀ - 1)² + 10 (x₁ - x₀²)² in a box, with all second derivatives."""

    def f(x):
        a, b = x.T
        return (a - 1) ** 2 + 10 * (b - a * a) ** 2

    def grad(x):
        a, b = x.T
        return np.stack([2 * (a - 1) - 40 * a * (b - a * a), 20 * (b - a * a)], 1)

    def hess(x):
        a, b = x.T
        return np.array([[2 + 120 * a * a - 40 * b, -40 * a], [-40 * a, 20 + 0 * a]]).transpose(2, 0, 1)

    box = {"x": ([-2.0, -1.0], [2.0, 3.0])}
    return FakeModel(f, grad, hess, inputs={"x": 2}, domain=box, dtype="float32").connect()


BOUNDED = ("Nelder-Mead", "Powell", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "COBYLA", "COBYQA")
CONSTRAINED = ("SLSQP", "trust-constr", "COBYLA", "COBYQA")
BY_HESSIAN = ("Newton-CG", "trust-constr", "dogleg", "trust-ncg", "trust-exact", "trust-krylov")
NO_SLOPES = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
METHODS = (*BOUNDED, "CG", "BFGS", "Newton-CG", "dogleg", "trust-ncg", "trust-exact", "trust-krylov")


def test_every_method_of_minimize_is_known():
    """A method that SciPy gains needs a line above."""
    assert {method.lower() for method in METHODS} == set(optimize._minimize.MINIMIZE_METHODS)


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_minimize_runs_on_float32(method):
    """SciPy's compiled optimisers take float64 alone; with the card's bounds and a constraint where they can."""
    f = gradwire.scipy.wrap(bowl())
    assert f.fun_and_jac(START)[1].dtype == f.hess(START).dtype == f.hessp(START, START).dtype == np.float64
    options = {"bounds": f.bounds} if method in BOUNDED else {}
    if method not in NO_SLOPES:
        options["jac"] = f.jac
    if method in BY_HESSIAN:
        options["hess"] = f.hess
    end = optimize.minimize(f.fun, START, method=method, **options)
    np.testing.assert_allclose(end.x, 1, atol=3e-2 if method == "COBYLA" else 5e-3)  # it stops at steps of 1e-4
    if method in CONSTRAINED:
        curved = {"hess": f.hess} if method == "trust-constr" else {}
        valley = optimize.NonlinearConstraint(f.fun, -np.inf, 0.5, jac=f.jac, **curved)
        end = optimize.minimize(lambda x: float(x @ x), [0.6, 0.3], constraints=valley, method=method, bounds=f.bounds)
        np.testing.assert_allclose(end.x, [0.29449, 0.07170], atol=1e-3)  # by the formula, without a model
        np.testing.assert_allclose(f.fun(end.x), 0.5, atol=1e-3)


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_every_method_of_least_squares_runs_on_float32(method):
    """And with bounds, but for lm, which has none."""
    f = gradwire.scipy.wrap(bowl())
    residuals, jacobian = (lambda x: [f.fun(x) - 0.25, x[0] - 1], lambda x: [f.jac(x), [1.0, 0.0]])
    bounds = {} if method == "lm" else {"bounds": f.bounds}
    end = optimize.least_squares(residuals, [1.1, 0.5], jac=jacobian, method=method, **bounds)
    np.testing.assert_allclose(f.fun(end.x), 0.25, atol=1e-5)


@pytest.mark.parametrize("method", ["hybr", "lm"])
def test_root_finds_where_the_gradient_is_zero(method):
    """With the Hessian as its Jacobian."""
    f = gradwire.scipy.wrap(bowl())
    np.testing.assert_allclose(optimize.root(f.jac, [0.5, 0.5], jac=f.hess, method=method).x, 1, atol=1e-4)


@pytest.mark.parametrize("method", ["brentq", "brenth", "bisect", "ridder", "toms748", "newton", "secant", "halley"])
def test_every_method_of_root_scalar_runs(served, method):
    """There x is one number, and so are the derivatives."""
    f = gradwire.scipy.wrap(served("log")[0])
    where = {"x0": 1.2} if method in ("newton", "secant", "halley") else {"bracket": [0.5, 3.0]}
    slopes = {"fprime": f.jac, "fprime2": f.hess} if method in ("newton", "halley") else {}
    assert isinstance(f.jac(1.5), float)
    found = optimize.root_scalar(lambda x: f.fun(x) - 0.5, method=method, **where, **slopes)
    np.testing.assert_allclose(found.root, np.exp(0.5), rtol=1e-6)


def test_an_evolution_takes_a_generation_in_one_call():
    """`vectorized=True`; bounds are the card's."""
    f = gradwire.scipy.wrap(bowl())
    end = optimize.differential_evolution(f.fun, f.bounds, vectorized=True, updating="deferred", seed=0, tol=1e-6)
    np.testing.assert_allclose(end.x, 1, atol=1e-3)


def test_bounds_that_are_not_known_are_infinite(with_parameter):
    """A card without a domain bounds nothing."""
    bounds = gradwire.scipy.wrap(with_parameter, k=3.0).bounds
    assert (bounds.lb.tolist(), bounds.ub.tolist()) == ([-np.inf] * 2, [np.inf] * 2)


def test_a_function_goes_to_other_processes(address):
    """Pickled and copied as the model's address, with what is fixed."""
    with gradwire.connect(address, "curved") as model:
        f = gradwire.scipy.wrap(model, t=1.5)
        x = np.array([0.3, -0.7, 0.5])
        expected = f.fun(x), f.jac(x)
        for other in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
            assert other.fun(x) == expected[0]
            np.testing.assert_array_equal(other.jac(x), expected[1])


WORKERS = """
import sys
import gradwire.scipy
from scipy import optimize

f = gradwire.scipy.wrap(gradwire.connect(sys.argv[1], "curved"), t=1.5)
options = {"workers": 2, "updating": "deferred", "seed": 0, "maxiter": 3, "polish": False}
end = optimize.differential_evolution(f.fun, [(-1, 1)] * 3, **options)
assert abs(end.fun - f.fun(end.x)) < 1e-12
"""


def test_the_workers_of_an_optimiser_have_it(address):
    """They are forked; in a process of their own, for here a server has threads."""
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, address], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


def gate(wait: float) -> tuple[gradwire.Model, list[float]]:
    """A model of x² in which a call waits a while for a second one, and the points of its calls."""
    calls: list[float] = []
    both = threading.Barrier(2)

    def square(x):
        calls.extend(x)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(wait)
        return x * x

    return FakeModel(square, lambda x: 2 * x).connect(), calls


def test_two_threads_at_one_point_make_one_call():
    """The one that comes second waits for the first one's response."""
    model, calls = gate(0.5)
    f = gradwire.scipy.wrap(model)
    with ThreadPoolExecutor(2) as threads:
        value, slope = threads.submit(f.fun, [3.0]), threads.submit(f.jac, [3.0])
        assert (value.result(), slope.result().tolist()) == (9.0, [6.0])
    assert calls == [3.0]


def test_threads_at_different_points_get_their_own_values():
    """The last point's response is never taken for another's."""
    f = gradwire.scipy.wrap(gate(0)[0])
    points = [float(k % 5) for k in range(200)]
    with ThreadPoolExecutor(4) as threads:
        pairs = list(threads.map(lambda x: f.fun_and_jac([x]), points))
    assert [(value, slope[0]) for value, slope in pairs] == [(x * x, 2 * x) for x in points]
