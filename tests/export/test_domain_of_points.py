"""The domain of the checks: a single point, what Normalization layers know, and what a message says of none at all."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import CheckFailed
from gradwire_export import DerivativeWarning, export
from gradwire_export._sources import function_of

pytestmark = pytest.mark.slow  # exports a package for each domain

SCALAR = tf.TensorSpec((None, 1), tf.float64)


@pytest.mark.usefixtures("run_in_one_process")
@pytest.mark.parametrize("second", [(0, 1), (3, 3)], ids=["one of two", "one row"])
def test_a_constant_input_is_exported_with_a_warning(second, tmp_path):
    """As from a column that never changes, or from a single row: its derivative is right, and said to be unchecked."""
    with pytest.warns(DerivativeWarning, match="is constant in its domain"):
        exported = export(
            lambda k, a: tf.sin(k) * a * a,
            to=tmp_path / "m",
            inputs={"k": SCALAR, "a": SCALAR},
            domain={"k": (2, 2), "a": second},
        )
    assert exported.left_out == {}
    assert exported.card.checks["proof"]["passed"]
    assert any("'k' is constant" in text for text in exported.card.checks["warnings"])
    with gradwire.load(exported.path) as model:
        assert gradwire.verify(model).passed
        assert model.grad(2.0, 3.0)["f"]["k"] == pytest.approx(np.cos(2) * 9)


@pytest.mark.usefixtures("run_in_one_process", "without_card_checks")
def test_a_constant_parameter_is_no_matter(tmp_path):
    """It is not differentiated: no room, and no warning."""
    exported = export(
        lambda k, a: tf.sin(k) * a,
        to=tmp_path / "m",
        inputs={"k": SCALAR, "a": SCALAR},
        wrt=["a"],
        domain={"k": (2, 2), "a": (0, 1)},
        signatures=[],
    )
    assert exported.card.checks["warnings"] == []


@pytest.mark.usefixtures("run_in_one_process")
@pytest.mark.parametrize("tensor", ["df_dk_dot of hvp", "df_dk"])
def test_a_product_with_a_constant_input_is_compared_all_the_same(tensor, tmp_path, monkeypatch):
    """Its tangent is not zero where it has no room: a wrong block of it is seen."""
    from gradwire_export._package import signatures

    right = signatures.signature_body
    name, _, signature = tensor.partition(" of ")

    def wrong(spec, each):
        body = right(spec, each)
        if each != (signature or "serving_default"):
            return body
        return lambda tensors: (outputs := body(tensors)) | {name: outputs[name] * 1.001}

    monkeypatch.setattr(signatures, "signature_body", wrong)
    with pytest.warns(DerivativeWarning), pytest.raises(CheckFailed, match=f"'{name}' of .* differs"):
        export(
            lambda k, a: tf.sin(k) * a * a,
            to=tmp_path / "m",
            inputs={"k": SCALAR, "a": SCALAR},
            domain={"k": (2, 2), "a": (0, 1)},
            signatures=["hvp"],
        )


def normalized(concatenated: bool) -> keras.Model:
    """A model of pressure (1) and place (2), normalised."""
    rng = np.random.default_rng(0)
    pressure, place = rng.normal(1e5, 1e3, (400, 1)), rng.normal([-50, 10], [1, 2], (400, 2))
    inputs = keras.Input((1,), name="pressure"), keras.Input((2,), name="place")
    if concatenated:
        layer = keras.layers.Normalization()
        layer.adapt(np.concatenate([pressure, place], axis=1))
        hidden = layer(keras.layers.Concatenate()(inputs))
    else:
        layers = keras.layers.Normalization(), keras.layers.Normalization()
        for layer, data in zip(layers, (pressure, place), strict=True):
            layer.adapt(data)
        hidden = keras.layers.Concatenate()([layer(x) for layer, x in zip(layers, inputs, strict=True)])
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(hidden)))


@pytest.mark.parametrize("concatenated", [False, True])
def test_normalization_layers_know_the_domain(concatenated):
    """Mean ± 3 deviations of each input, by its name in the package."""
    names = {"where": "place", "p": "pressure"}
    domain = function_of(normalized(concatenated), inputs=names).domain
    assert set(domain) == {"where", "p"}
    np.testing.assert_allclose([domain["p"].lower, domain["p"].upper], [[97e3], [103e3]], rtol=0.01)
    np.testing.assert_allclose(domain["where"].lower, [-53, 4], atol=0.7)
    np.testing.assert_allclose(domain["where"].upper, [-47, 16], atol=0.7)


@pytest.mark.usefixtures("run_in_one_process", "without_card_checks")
def test_the_domain_of_a_sequential_model_is_on_the_card_unless_one_is_given(tmp_path):
    """What the caller says goes before."""
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(20, 2, (400, 1)))
    model = keras.Sequential([keras.Input((1,), name="t"), layer, keras.layers.Dense(1)])
    known = export(model, to=tmp_path / "m", signatures=[]).card.inputs[0].domain
    np.testing.assert_allclose([known.lower, known.upper], [[14], [26]], atol=0.7)
    given = export(model, to=tmp_path / "m", signatures=[], domain={"t": (0, 1)}).card.inputs[0].domain
    assert (given.lower, given.upper) == ([0], [1])


MESSAGES = {
    "a check of numbers": lambda x: tf.debugging.check_numerics(tf.math.log(x), "no logarithm"),
    "no value": lambda x: tf.math.log(x - 5),
}


@pytest.mark.usefixtures("run_in_one_process")
@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_says_where_points_were_drawn(name, tmp_path):
    """A failure that such a draw causes says so."""
    with pytest.raises(CheckFailed, match=r"'x' was drawn from \[-1, 1\], for no domain is known: give one"):
        export(MESSAGES[name], to=tmp_path / "m", inputs={"x": SCALAR}, signatures=[])
    with pytest.raises(CheckFailed) as known:
        export(MESSAGES[name], to=tmp_path / "m", inputs={"x": SCALAR}, signatures=[], domain={"x": (-2, -1)})
    assert "drawn" not in str(known.value)
