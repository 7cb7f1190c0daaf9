"""PyTensor over served models: its own gradient checker, R-operators, and one call for value and gradient."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import gradwire
import gradwire.pytensor
import gradwire.scipy
from gradwire.testing import FakeModel

pytensor = pytest.importorskip("pytensor")
pt = pytest.importorskip("pytensor.tensor")

X, T = np.array([[0.3, -0.7, 0.5], [0.1, 0.2, 0.3]]), np.array([1.3, 0.9])


@pytest.fixture(autouse=True)
def _python_mode():
    """Functions run as Python: nothing here waits for a compiler."""
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


def run(inputs, outputs, *values):
    """Compiles and computes."""
    return pytensor.function(inputs, outputs, on_unused_input="ignore")(*values)


@pytest.mark.parametrize("output", ["f", "w"])
def test_pytensor_verifies_the_gradients(served, hidden, output):
    """First and second derivatives, of a scalar and of a vector, wrt both inputs, against its differences."""
    f = gradwire.pytensor.wrap(served("pair", hidden=hidden)[0])
    rng = np.random.default_rng(0)
    pytensor.gradient.verify_grad(lambda x, t: f(x, t)[output], [X, T], rng=rng)
    weights = np.array([0.7, -1.3])
    for wrt in (0, 1):

        def gradient(*inputs, wrt=wrt):
            return pytensor.grad((f(*inputs)[output].T * weights).sum(), inputs[wrt])

        pytensor.gradient.verify_grad(gradient, [X, T], rng=rng)


def test_value_and_gradient_are_one_call(served):
    """And numbers are those of the model, at points in any form; sizes may be unknown."""
    model, calls = served("pair")
    f = gradwire.pytensor.wrap(model)
    x, t = pt.matrix("x"), pt.vector("t")
    outputs = f(x, t=t)
    function = pytensor.function([x, t], [outputs["w"], pytensor.grad(outputs["f"].sum(), x)])
    calls.clear()
    w, df_dx = function(X, T)
    assert calls == [("serving_default", 2)]
    values, grads = model.value_and_grad(X, T)
    np.testing.assert_allclose(w, values["w"], rtol=1e-15)
    np.testing.assert_allclose(df_dx, grads["f"]["x"], rtol=1e-13)
    for shape in ((3,), (2, 2, 3)):
        points = np.broadcast_to(X[0], shape)
        known = f(pt.as_tensor(points), 1.3)["w"]
        assert known.type.shape == (*shape[:-1], 2)
        np.testing.assert_array_equal(known.eval(), model.value(points, 1.3)["w"])
        free = pt.tensor("free", shape=(None,) * len(shape))
        np.testing.assert_array_equal(f(free, 1.3)["w"].eval({free: points}), model.value(points, 1.3)["w"])


@pytest.mark.parametrize("own", [False, True], ids=["by pullbacks", "by R_op"])
def test_operators_of_both_orders(served, hidden, own):
    """Along a tangent; forward over reverse; and the Hessian by PyTensor's own loop."""

    def pushed(value, x, v):
        return pytensor.gradient.Rop(value, x, v, use_op_rop_implementation=own)

    model, _ = served("curved", hidden=hidden)
    f = gradwire.pytensor.wrap(model)
    x, v = pt.vector("x"), pt.vector("v")
    value, direction = f(x, 1.3), np.array([1.0, -2.0, 0.5])
    hessian = np.asarray(gradwire.scipy.wrap(model, t=1.3).hess(X[0]))
    slope = pytensor.grad(value, x)
    along, curved, twice = run(
        [x, v],
        [pushed(value, x, v), pushed(slope, x, v), pytensor.gradient.hessian(value, x)],
        X[0],
        direction,
    )
    np.testing.assert_allclose(along, model.grad(X[0], 1.3)["f"]["x"] @ direction, rtol=1e-13)
    np.testing.assert_allclose(curved, hessian @ direction, rtol=1e-12)
    np.testing.assert_allclose(twice, hessian, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_product_is_differentiated_by_its_direction(served, mode):
    """Products with the Hessian are linear in the vector, either way: against PyTensor's differences."""
    f = gradwire.pytensor.wrap(served("curved")[0])

    def product(v):
        x = pt.as_tensor(X[0])
        slope = pytensor.grad(f(x, 1.3), x)
        if mode == "reverse":
            return pytensor.gradient.Lop(slope, x, v)
        return pytensor.gradient.Rop(slope, x, v, use_op_rop_implementation=True)

    pytensor.gradient.verify_grad(product, [X[1]], rng=np.random.default_rng(0))


def test_what_there_is_not_is_refused(served, with_parameter, point):
    """A third derivative, second ones that the package lacks, and one with respect to a parameter: never a zero."""
    x = pt.vector("x")
    slope = pytensor.grad(gradwire.pytensor.wrap(served("curved")[0])(x, 1.3), x)
    curvature = pytensor.grad(slope.sum(), x)
    with pytest.raises(pytensor.gradient.NullTypeGradError, match="third derivative"):
        pytensor.grad(curvature.sum(), x)
    with pytest.raises(gradwire.UsageError, match="third derivative"):
        pytensor.gradient.Rop(curvature, x, x, use_op_rop_implementation=True)
    first = pytensor.grad(gradwire.pytensor.wrap(served("curved", hidden=["hvp", "hessian"])[0])(x, 1.3), x)
    with pytest.raises(gradwire.SignatureNotFound, match="signatures hvp"):
        pytensor.grad(first.sum(), x)
    k = pt.scalar("k")
    value = gradwire.pytensor.wrap(with_parameter)(k, x)
    assert run([k, x], pytensor.grad(value, x), 3.0, [1.0, 2.0]).tolist() == [6.0, 12.0]
    with pytest.raises(pytensor.gradient.NullTypeGradError, match="parameters"):
        pytensor.grad(value, k)
    with pytest.raises(gradwire.UsageError, match="parameters"):
        pytensor.gradient.Rop(value, k, k, use_op_rop_implementation=True)


def test_arguments_that_do_not_fit(served):
    """Where shapes are known when it is called, else when it runs."""
    f = gradwire.pytensor.wrap(served("curved")[0])
    with pytest.raises(gradwire.ShapeError):
        f(pt.vector("x", shape=(2,)), 1.0)
    with pytest.raises(gradwire.ShapeError, match="batch shapes"):
        f(pt.vector("x"), pt.vector("t"))
    with pytest.raises(gradwire.InputNameError):
        f(pt.vector("x"))
    x, t = pt.matrix("x"), pt.vector("t")
    with pytest.raises(AssertionError, match="different batch shapes"):
        run([x, t], f(x, t), X, T[:1])
    with pytest.raises(ValueError, match="reshape"):
        run([x, t], f(x, t), X[:, :2], T)


@pytest.mark.filterwarnings("ignore:.*ServerError.* does not allow us to add an extra error message")
def test_the_reason_of_a_failure_arrives():
    """The client's own error, to which PyTensor adds the node where it can."""
    fake = FakeModel(np.log, lambda x: 1 / x)
    x = pt.scalar("x")
    function = pytensor.function([x], gradwire.pytensor.wrap(fake.connect())(x))
    fake.fail("RESOURCE_EXHAUSTED")
    with pytest.raises(gradwire.ServerError, match="RESOURCE_EXHAUSTED"):
        function(1.0)
    fake.fail("UNAVAILABLE")
    with pytest.raises(gradwire.ServerUnreachable, match="ValueAndJacobian"):
        function(1.0)
    assert function(1.0) == 0


def test_results_are_float64():
    """Of a float32 package, and of integers: PyMC's own dtype."""
    fake = FakeModel(np.log, lambda x: 1 / x, dtype="float32")
    value = gradwire.pytensor.wrap(fake.connect())(pt.iscalar("n") + 1)
    assert value.type.dtype == "float64"


def test_functions_and_programs_are_pickled(address, point):
    """As the model, for the processes that chains run in."""
    with gradwire.connect(address, "curved") as model:
        f = gradwire.pytensor.wrap(model)
        expected = float(model.value(*point)["f"])
        for other in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
            assert other is not f
            assert other(*point).eval() == expected
        x = pt.vector("x")
        program = pickle.loads(pickle.dumps(pytensor.function([x], pytensor.grad(f(x, point[1]), x))))
        np.testing.assert_array_equal(program(point[0]), model.grad(*point)["f"]["x"])
