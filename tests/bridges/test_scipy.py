"""SciPy over served models: exact derivatives, and one call a point."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import optimize

import gradwire
import gradwire.scipy

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
    with pytest.raises(gradwire.InputNameError, match="parts of x"):
        gradwire.scipy.wrap(with_parameter, k=3.0, x=x)


def test_another_number_of_entries_is_refused(served):
    """Only a 1-D point of the right length is one."""
    f = gradwire.scipy.wrap(served("rosenbrock")[0])
    for x in ([1.0], [[1.0, 2.0]], [1.0, 2.0, 3.0]):
        with pytest.raises(gradwire.ShapeError, match=r"expected \(2,\)"):
            f.fun(x)


def gate(wait: float) -> tuple[gradwire.Model, list[float]]:
    """A model of x² in which a call waits a while for a second one, and the points of its calls."""
    calls: list[float] = []
    both = threading.Barrier(2)

    def square(x):
        calls.extend(x[:, 0])
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(wait)
        return {"f": x * x, "df_dx": 2 * x}

    card = gradwire.Card(
        name="square",
        inputs=(gradwire.CardTensor("x", "float64", (1,)),),
        outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default",),
    )
    return gradwire.Model(gradwire.FakeTransport({"serving_default": square}, card=card)), calls


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
