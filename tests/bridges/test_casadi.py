"""CasADi over served models: its own derivative checkers, sparse derivatives, and an optimal control."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import gradwire
import gradwire.casadi
import gradwire.scipy
from gradwire.testing import FakeModel

casadi = pytest.importorskip("casadi")

X, T = np.array([[0.3, -0.7, 0.5], [0.1, 0.2, 0.3]]), np.array([1.3, 0.9])
QUIET = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes"}


def program(function, rows, derivatives):
    """Everything that is computed of the sum of all outputs' squares, in one vector of all inputs."""
    v = casadi.MX.sym("v", 4 * rows)
    x, t = casadi.reshape(v[: 3 * rows], 3, rows), casadi.reshape(v[3 * rows :], 1, rows)
    f, w = function(x, t)
    total = casadi.sumsqr(w) + casadi.sum2(f)
    return casadi.Function("program", [v], derivatives(total, v, casadi.veccat(f, w)))


@pytest.mark.parametrize("rows", [None, 2])
def test_derivatives_are_those_of_the_model(served, hidden, rows):
    """The Jacobian of every output wrt every input, and the Hessian, of one point and of two at once."""
    model, calls = served("pair", hidden=hidden)
    function, count = gradwire.casadi.wrap(model, rows=rows), rows or 1
    assert (function.name_in(), function.name_out()) == (["x", "t"], ["f", "w"])
    points = np.concatenate([X[:count].ravel(), T[:count]])
    by_scipy = gradwire.scipy.wrap(model)
    jacobian, hessian = np.zeros((3 * count, 4 * count)), np.zeros((4 * count, 4 * count))
    for row in range(count):
        joined = np.append(X[row], T[row])
        f, df = by_scipy.fun_and_jac(joined)
        wrt = [*range(3 * row, 3 * row + 3), 3 * count + row]
        jacobian[np.ix_([row, *range(count + 2 * row, count + 2 * row + 2)], wrt)] = df
        weights = np.array([1.0, 2 * f[1], 2 * f[2]])
        hessian[np.ix_(wrt, wrt)] = by_scipy.hess(joined, weights) + 2 * df[1:].T @ df[1:]
    both = program(function, count, lambda total, v, every: [casadi.jacobian(every, v), casadi.hessian(total, v)[0]])
    calls.clear()
    first, second = both(points)
    assert len(calls) == 2, "value with Jacobian, and the Hessian"
    np.testing.assert_allclose(first, jacobian, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(second, hessian, rtol=1e-11, atol=1e-13)
    assert first.nnz() == 12 * count, "points do not depend on one another"
    assert second.nnz() == 16 * count


def test_value_and_jacobian_are_one_call(served):
    """At one point, in any order, as an optimiser asks; a Hessian brings both along."""
    model, calls = served("curved")
    function = gradwire.casadi.wrap(model, t=1.3)
    x = casadi.MX.sym("x", 3)
    value, slope = (
        casadi.Function("f", [x], [function(x)]),
        casadi.Function("g", [x], [casadi.gradient(function(x), x)]),
    )
    hessian = casadi.Function("h", [x], [casadi.hessian(function(x), x)[0]])
    slope(X[0])
    value(X[0])
    assert calls == [("serving_default", 1)]
    hessian(X[0])
    slope(X[0])
    value(X[1])
    assert [name for name, _ in calls] == ["serving_default", "hessian", "serving_default"]


def test_casadi_finds_the_same_by_differences(served):
    """Its own finite differences in place of the callbacks' Jacobian."""
    model, _ = served("pair")
    points = np.concatenate([X.ravel(), T])
    results = []
    for options in (None, {"enable_fd": True, "enable_jacobian": False}):
        function = gradwire.casadi.wrap(model, rows=2, options=options)
        results.append(program(function, 2, lambda total, v, every: [casadi.jacobian(every, v)])(points))
    np.testing.assert_allclose(results[1], results[0], atol=1e-7)
    assert np.abs(np.array(results[1]) - np.array(results[0])).max() > 0, "another way"


def test_ipopt_finds_no_wrong_derivative(served, capfd):
    """Its checker of first and second derivatives, in objective and constraint; and a fault is seen by it."""

    def check(model):
        function = gradwire.casadi.wrap(model)
        x = casadi.MX.sym("x", 2)
        problem = {"x": x, "f": function(x), "g": function(x) + x[0] * function(x[::-1])}
        options = {"print_time": False, "ipopt.print_level": 5, "ipopt.derivative_test": "second-order"}
        solver = casadi.nlpsol("solver", "ipopt", problem, options | {"ipopt.max_iter": 0, "error_on_fail": False})
        capfd.readouterr()
        solver(x0=[-1.2, 1.0], lbg=-1, ubg=1e4)
        return "No errors detected by derivative checker" in capfd.readouterr().out

    model, _ = served("rosenbrock")
    assert check(model)
    wrong = FakeModel(
        model.value, model.grad, lambda x: 1.01 * model.hessian(x), inputs={"x": 2}, signatures=["hessian"]
    )
    assert not check(wrong.connect())


def pendulum(xp, angle, speed, torque):
    """The acceleration of a damped pendulum."""
    return xp.sin(angle) * -9.81 - 0.1 * speed + torque


def pendulum_model() -> FakeModel:
    """The same as a served right-hand side of one output and three inputs."""
    return FakeModel(
        lambda a, s, u: pendulum(np, a, s, u),
        lambda a, s, u: {"acc": {"a": -9.81 * np.cos(a), "s": np.full_like(s, -0.1), "u": np.ones_like(u)}},
        lambda a, s, u: {
            "acc": {x: {y: 9.81 * np.sin(a) if x == y == "a" else 0 * a for y in "asu"} for x in "asu"}
        },
        inputs={"a": 1, "s": 1, "u": 1},
        outputs={"acc": 1},
        signatures=["hessian"],
    )  # fmt: skip


def swing(acceleration, steps=15):
    """The cheapest torque that brings the pendulum from rest at 0 to rest at 1 rad, by IPOPT."""
    opti, h = casadi.Opti(), 0.1
    angle, speed, torque = (opti.variable(1, steps + 1) for _ in range(3))
    rate = acceleration(angle, speed, torque)
    opti.minimize(casadi.sumsqr(torque))
    for state, slope in ((angle, speed), (speed, rate)):
        opti.subject_to(state[1:] == state[:-1] + h * (slope[1:] + slope[:-1]) / 2)
    opti.subject_to(casadi.vertcat(angle[0], speed[0], angle[-1], speed[-1]) == casadi.DM([0, 0, 1, 0]))
    opti.solver("ipopt", QUIET)
    solution = opti.solve()
    return solution.value(torque), solution.stats()["iter_count"]


def test_an_optimal_control_is_that_of_the_formula():
    """A direct transcription: every node of the grid is a row of one call, iterations are Newton's."""
    fake = pendulum_model()
    function = gradwire.casadi.wrap(fake.connect(), rows=16)
    torque, iterations = swing(function)
    expected, expected_iterations = swing(lambda *inputs: pendulum(casadi, *inputs))
    np.testing.assert_allclose(torque, expected, atol=1e-7)
    assert iterations == expected_iterations
    assert {rows for _, rows in fake.calls} == {16}
    assert len(fake.calls) <= 3 * (iterations + 1)


def test_a_fit_by_gauss_newton(served):
    """Parameters inside of a served function, from rows of data in one call."""
    model, calls = served("log")
    data = np.linspace(0.5, 3.0, 12)
    function = gradwire.casadi.wrap(model, rows=12)
    p = casadi.MX.sym("p", 2)
    residuals = function((p[0] * data + p[1]).T) - np.log(0.7 * data + 0.4)[None]
    solver = casadi.nlpsol("fit", "ipopt", {"x": p, "f": casadi.sumsqr(residuals)}, QUIET)
    np.testing.assert_allclose(solver(x0=[1.0, 1.0], lbx=0.01)["x"].full().ravel(), [0.7, 0.4], atol=1e-5)
    assert {rows for _, rows in calls} == {12}


def test_what_there_is_not_is_refused(served, with_parameter):
    """A third derivative, second ones that the package lacks, a parameter that varies, and no rows."""
    x = casadi.MX.sym("x", 3)
    function = gradwire.casadi.wrap(served("curved")[0], t=1.3)
    hessian = casadi.hessian(function(x), x)[0]
    with pytest.raises(RuntimeError, match="derivative"):
        casadi.jacobian(hessian, x)
    lacking = gradwire.casadi.wrap(served("curved", hidden=["hvp", "hessian"])[0], t=1.3)
    with pytest.raises(RuntimeError, match="signatures hvp"):
        casadi.hessian(lacking(x), x)
    with pytest.raises(gradwire.InputNameError, match=r"missing but required: \{k\}"):
        gradwire.casadi.wrap(with_parameter)
    np.testing.assert_array_equal(gradwire.casadi.wrap(with_parameter, k=3.0)([1, 2]), 15)
    with pytest.raises(gradwire.UsageError, match="rows=0"):
        gradwire.casadi.wrap(with_parameter, rows=0, k=3.0)


def test_the_reason_of_a_failure_arrives():
    """In CasADi's own error."""
    fake = FakeModel(np.log, lambda x: 1 / x)
    function = gradwire.casadi.wrap(fake.connect())
    fake.fail("RESOURCE_EXHAUSTED")
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        function(1.0)
    assert function(1.0) == 0


def test_one_output_of_several_in_float32():
    """Others are not even computed; numbers are float64."""
    fake = FakeModel(
        lambda x: {"f": x**3, "g": x},
        lambda x: {"f": {"x": 3 * x**2}, "g": {"x": 0 * x}},
        outputs={"f": 1, "g": 1},
        dtype="float32",
        name="two-outputs",
    )
    function = gradwire.casadi.wrap(fake.connect(), of="f")
    assert function.name_out() == ["f"]
    x = casadi.MX.sym("x")
    assert casadi.Function("df", [x], [casadi.jacobian(function(x), x)])(2.0) == 12


def test_a_function_is_pickled_and_copied_as_its_model(address, point):
    """With its rows and what is fixed; the copy lives on its own."""
    with gradwire.connect(address, "curved") as model:
        function = gradwire.casadi.wrap(model, rows=2, t=point[1])
        expected = function(X.T)
        others = (pickle.loads(pickle.dumps(function)), copy.deepcopy(function))
        del function
        gc.collect()
        x = casadi.MX.sym("x", 3, 2)
        for other in others:
            np.testing.assert_array_equal(other(X.T), expected)
            casadi.Function("j", [x], [casadi.jacobian(other(x), x)])(X.T)
