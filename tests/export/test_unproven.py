"""A signature whose proof fails is not written; the others are, as a package that is whole."""

from __future__ import annotations

import pytest
import tensorflow as tf

import gradwire
from gradwire_export import DerivativeWarning, export

pytestmark = pytest.mark.slow  # exports packages with signatures that fail their proof

SPEC = {"x": tf.TensorSpec((None, 2), tf.float32)}


def second_wrong(part):
    """A function whose gradient is right, and of which a part is not differentiated again."""

    @tf.custom_gradient
    def function(x):
        def gradient(upstream):
            slope = 3 * tf.cos(3 * x)
            return upstream * (slope + part * (tf.stop_gradient(slope) - slope))

        return tf.sin(3 * x), gradient

    return lambda x: tf.reduce_sum(function(x) * x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def package(run_in_one_process, tmp_path_factory):
    """A package of a function whose first derivatives are right and whose second are not."""
    with pytest.warns(DerivativeWarning) as caught:
        exported = export(second_wrong(1.0), to=tmp_path_factory.mktemp("m") / "m", inputs=SPEC)
    return exported, [str(warning.message) for warning in caught]


def test_what_is_left_out_is_named(package):
    """With the signature and the reason: in the result, in a warning each, and on the card."""
    exported, warned = package
    assert set(exported.left_out) == {"hvp", "hessian"}
    for name, reason in exported.left_out.items():
        assert f"df_dx_dot of {name} in float64 is" in reason
        assert f"left out {name}, which is not proved: {reason}" in warned
    assert exported.card.checks["left_out"] == exported.left_out
    assert exported.card.checks["proof"]["unproven"] == {}


def test_the_rest_is_a_whole_package(package):
    """Signatures, second derivatives, warm-up and digest are of what was written, and its proof passes."""
    from tensorflow_serving.apis import prediction_log_pb2

    exported, _ = package
    expected = {"serving_default", "value", "jvp", "vjp", "card"}
    with gradwire.load(exported.path) as model:  # compares the files with the digests on the card
        assert set(model.signatures) == expected == set(model.card.signatures)
        assert model.card.second_derivatives == {}
        assert gradwire.verify(model, seed=1).passed
    records = tf.data.TFRecordDataset(str(exported.path / "assets.extra/tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    assert {log.predict_log.request.model_spec.signature_name for log in logs} == expected


def test_a_thousandth_is_enough(run_in_one_process, tmp_path):
    """In float32 too, where differences of the package itself would not see it."""
    with pytest.warns(DerivativeWarning, match="left out hvp"):
        exported = export(second_wrong(1e-3), to=tmp_path / "m", inputs=SPEC, signatures=["hvp"])
    assert exported.card.signatures == ("serving_default", "value", "card")


def test_what_was_not_asked_for_is_not_missed(run_in_one_process, tmp_path):
    """Without second derivatives among the signatures there is nothing to leave out."""
    exported = export(second_wrong(1.0), to=tmp_path / "m", inputs=SPEC, signatures=["jvp"])
    assert exported.left_out == {}
    assert exported.card.checks["proof"]["passed"]
