"""A JAX function as a package, where JAX is installed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import ConversionError
from gradwire_export import export, from_jax
from gradwire_serving import Servable

jax = pytest.importorskip("jax", reason="JAX is in the environment of the bridges")
pytest.importorskip("jax.experimental.jax2tf", reason="later JAX may drop it")

X = {"x": tf.TensorSpec((None, 3), tf.float64)}
WIDTH = 512  # a wide layer: blocks are small, and few sizes have to be compiled


@pytest.fixture
def bits(request):
    """JAX in float64, or in float32, for a test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield request.param
    jax.config.update("jax_enable_x64", before)


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["float64"], indirect=True)
def test_a_jax_function_becomes_a_package(bits, tmp_path):
    """Value, gradient and Hessian are JAX's own, at no rows, one and several."""
    weights = np.random.default_rng(0).normal(size=(3, WIDTH)) / WIDTH

    def one_row(x):
        return jax.numpy.tanh(x @ weights).sum()

    exported = export(from_jax(jax.vmap(one_row)), to=tmp_path / "m", inputs=X, signatures=["hvp"])
    assert exported.card.compiled["needs"] == "--xla_cpu_compilation_enabled=true"
    x = np.random.default_rng(1).uniform(-1, 1, (5, 3))
    along = np.ones((5, 3))
    with gradwire.load(exported.path) as model:
        f, df_dx = model.value_and_grad(x)
        none = model.value(x[:0])
    turned = Servable.load(exported.path).run("hvp", {"x": x, "x_dot": along})["df_dx_dot"]
    np.testing.assert_allclose(f, jax.vmap(one_row)(x), rtol=1e-12)
    np.testing.assert_allclose(df_dx, jax.vmap(jax.grad(one_row))(x), rtol=1e-12)
    np.testing.assert_allclose(turned, jax.vmap(jax.hessian(one_row))(x).sum(2), rtol=1e-10)
    assert none.shape == (0,)


@pytest.mark.parametrize("bits", ["float32"], indirect=True)
def test_float64_needs_a_jax_that_computes_in_float64(bits, tmp_path):
    """JAX would cut the input to float32 without a word; here it is said."""
    with pytest.raises(ConversionError, match="jax_enable_x64"):
        export(from_jax(jax.numpy.sin), to=tmp_path / "m", inputs=X)
