"""JAX over served models: every transformation, against JAX's own derivatives of the same function."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from tests.client.models import curved_fake

import gradwire
import gradwire.jax
from gradwire.testing import RecordingTransport


@pytest.fixture(params=[True, False], ids=["x64", "x32"], autouse=True)
def tolerance(request):
    """JAX in float64 and in float32, with what rounding leaves."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", request.param)
    yield {"rtol": 1e-11, "atol": 1e-12} if request.param else {"rtol": 2e-5, "atol": 1e-5}
    jax.config.update("jax_enable_x64", before)


def local(x, t):
    """The served function ``curved`` in JAX."""
    s = t * t
    return s * (x[..., 0] ** 2 * x[..., 1] + jnp.sin(x[..., 2])) + t * x[..., 1] * x[..., 2]


def local_w(x, t):
    """The second output of ``pair`` in JAX."""
    return jnp.stack([x[..., 0] * t**3, jnp.exp(x[..., 1] * x[..., 2]) * t], -1)


def hvp(function):
    """Forward over reverse."""
    return lambda x, t: jax.jvp(lambda y: jax.grad(function)(y, t), (x,), (jnp.arange(3.0),))[1]


FIRST = {
    "value": lambda f: f,
    "grad": lambda f: jax.grad(f, (0, 1)),
    "value_and_grad": lambda f: jax.value_and_grad(f, (0, 1)),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1)),
    "jacrev": lambda f: jax.jacrev(f, (0, 1)),
    "jvp": lambda f: lambda x, t: jax.jvp(f, (x, t), (jnp.ones(3), jnp.asarray(2.0))),
}
SECOND = {
    "hessian": lambda f: jax.hessian(f, (0, 1)),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f, (0, 1)), (0, 1)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f, (0, 1)), (0, 1)),
    "hvp": hvp,
    "grad of a norm": lambda f: jax.grad(lambda x, t: jnp.sum(jax.grad(f)(x, t) ** 2)),
}


def check(found, expected, tolerance):
    """Compares trees of arrays, dtypes included."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, **tolerance)


@pytest.mark.parametrize("name", FIRST)
def test_first_order_is_one_call(served, point, tolerance, name):
    """Each transformation gives what it gives of JAX's own function, by one call; under jit too."""
    model, calls = served("curved")
    remote, x, t = gradwire.jax.wrap(model), jnp.asarray(point[0]), jnp.asarray(point[1])
    expected = FIRST[name](local)(x, t)
    check(FIRST[name](remote)(x, t), expected, tolerance)
    assert len(calls) == 1
    check(jax.jit(FIRST[name](remote))(x, t), expected, tolerance)
    assert len(calls) == 2
    assert {signature for signature, _ in calls} == {"value" if name == "value" else "serving_default"}


@pytest.mark.parametrize("name", SECOND)
def test_second_order(served, point, tolerance, name, hidden):
    """Second derivatives with cross terms are right in every order of modes, by one call, with `hvp` alone too."""
    model, calls = served("curved", hidden=hidden)
    remote, x, t = gradwire.jax.wrap(model), jnp.asarray(point[0]), jnp.asarray(point[1])
    check(jax.jit(SECOND[name](remote))(x, t), SECOND[name](local)(x, t), tolerance)
    assert calls == [("hvp", 4) if hidden else ("hessian", 1)]


@pytest.mark.parametrize("name", ["value", "grad", "value_and_grad", "jacfwd"])
def test_vmap_is_one_call(served, tolerance, name):
    """A batch under vmap is one call of all rows, with one input shared or mapped, and nested."""
    model, calls = served("curved")
    remote = gradwire.jax.wrap(model)
    x, t = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (6, 3))), jnp.linspace(0.5, 2.0, 6)
    for axes in ((0, 0), (0, None), (None, 0)):
        given = [a if axis == 0 else a[0] for a, axis in zip((x, t), axes, strict=True)]
        calls.clear()
        found = jax.jit(jax.vmap(FIRST[name](remote), axes))(*given)
        check(found, jax.vmap(FIRST[name](local), axes)(*given), tolerance)
        assert [rows for _, rows in calls] == [6]
    calls.clear()
    both = jax.vmap(jax.vmap(FIRST[name](remote), (None, 0)), (0, None))
    check(both(x, t), jax.vmap(jax.vmap(FIRST[name](local), (None, 0)), (0, None))(x, t), tolerance)
    assert [rows for _, rows in calls] == [36]


def test_vmap_of_a_hessian_is_one_call(served, tolerance):
    """Second derivatives of a batch are one call too."""
    model, calls = served("curved")
    x, t = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (6, 3))), jnp.linspace(0.5, 2.0, 6)
    found = jax.vmap(jax.hessian(gradwire.jax.wrap(model)))(x, t)
    check(found, jax.vmap(jax.hessian(local))(x, t), tolerance)
    assert calls == [("hessian", 6)]


def test_a_batch_without_vmap(served, tolerance):
    """Points in the caller's arrays are a batch as well; a scalar goes with all of them, and gets one gradient."""
    model, calls = served("curved")
    remote = gradwire.jax.wrap(model)
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 5, 3)))
    check(remote(t=jnp.asarray(1.3), x=x), local(x, jnp.asarray(1.3)), tolerance)

    def summed(function):
        return jax.grad(lambda x, t: function(x, t).sum(), (0, 1))

    check(summed(remote)(x, jnp.asarray(1.3)), summed(local)(x, jnp.asarray(1.3)), tolerance)
    assert [rows for _, rows in calls] == [10, 10]


def test_several_outputs(served, point, tolerance):
    """Several outputs are a dict, and a Jacobian of all of them is one call; so is a Hessian."""
    model, calls = served("pair")
    remote, x, t = gradwire.jax.wrap(model), jnp.asarray(point[0]), jnp.asarray(point[1])

    def both(x, t):
        return {"f": local(x, t), "w": local_w(x, t)}

    for transform in (jax.jacrev, jax.jacfwd, jax.hessian):
        calls.clear()
        check(transform(remote, (0, 1))(x, t), transform(both, (0, 1))(x, t), tolerance)
        assert len(calls) == 1


def test_no_second_derivatives_are_refused(served, point):
    """Without hvp and hessian a second derivative is an error, and a third one is in any case."""
    x, t = jnp.asarray(point[0]), jnp.asarray(point[1])
    bare = gradwire.jax.wrap(served("curved", hidden=["hvp", "hessian"])[0])
    with pytest.raises(gradwire.SignatureNotFound, match="signatures hvp"):
        jax.hessian(bare)(x, t)
    whole = gradwire.jax.wrap(served("curved")[0])
    for transform in (jax.jacfwd, jax.jacrev):
        with pytest.raises(gradwire.UsageError, match="third derivative"):
            transform(jax.hessian(whole))(x, t)


def test_parameters_have_no_derivative(with_parameter):
    """By an input that the package is not differentiated by, there is an error and not a zero."""
    f = gradwire.jax.wrap(with_parameter)
    x = jnp.asarray([1.0, 2.0])
    np.testing.assert_allclose(jax.grad(f, 1)(3.0, x), [6.0, 12.0])
    np.testing.assert_allclose(jax.hessian(f, 1)(3.0, x), 6 * np.eye(2))
    for transform in (jax.grad, jax.jacfwd):
        with pytest.raises(gradwire.UsageError, match="parameters"):
            jax.jit(transform(f, 0))(3.0, x)


def test_errors_of_a_call_keep_their_reason(served):
    """A wrong shape is found when tracing; what the server says is in the message of JAX's error."""
    model, _ = served("curved")
    f = gradwire.jax.wrap(model)
    with pytest.raises(gradwire.ShapeError, match=r"expected \(…, 3\)"):
        jax.jit(f)(jnp.ones(4), 1.0)
    model.close()
    with pytest.raises(Exception, match="closed"):
        f(jnp.ones(3), 1.0)


def test_dtypes_are_checked_while_tracing():
    """What no value of a dtype would fit is refused before anything is computed, as by NumPy's path."""
    transport = RecordingTransport(curved_fake())
    f = gradwire.jax.wrap(gradwire.Model(transport))
    for dtype in (complex, bool):
        with pytest.raises(gradwire.DTypeError, match=rf"input 'x' holds {dtype.__name__}.*expected float64"):
            jax.make_jaxpr(f)(jnp.ones((2, 3), dtype), 1.0)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.int32):
        jax.make_jaxpr(f)(jnp.ones((2, 3), dtype), 1)
    assert not transport.calls


def test_a_large_batch_does_not_hang(served):
    """Arrays beyond what JAX copies at once go through jit and back."""
    model, _ = served("curved")
    x = np.random.default_rng(0).uniform(-1, 1, (200_000, 3))
    f, df = jax.jit(jax.vmap(jax.value_and_grad(gradwire.jax.wrap(model)), (0, None)))(x, 1.3)
    np.testing.assert_allclose(f, local(x, 1.3), rtol=1e-4, atol=1e-4)
    assert df.shape == x.shape
