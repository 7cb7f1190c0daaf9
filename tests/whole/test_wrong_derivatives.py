"""A package whose derivatives are wrong is found out by `gradwire verify`, wherever it runs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

import gradwire as client
from gradwire._package.files import CARD_FILE, digest, file_digests
from gradwire_export import _export, export
from gradwire_export._package import signatures

pytestmark = pytest.mark.slow  # exports a package for each planted fault

A, B = (np.random.default_rng(2).normal(size=shape).astype(np.float32) for shape in ((3, 6), (6, 3)))
KEEP = ("serving_default", "value", "jvp", "hvp")


def model(x):
    """Three numbers to three: a Jacobian that can be transposed."""
    return tf.tanh(x @ A) @ B


def export_model(to):
    """Exports it with its reference points."""
    spec = {"x": tf.TensorSpec((None, 3), tf.float32)}
    return export(model, to=to, inputs=spec, signatures=("jvp", "hvp"))


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The package as it should be."""
    return export_model(tmp_path_factory.mktemp("right") / "models/net")


def df_changed(change):
    """Every signature's df goes through a change."""

    def wrong(body, tensors):
        outputs = body(tensors)
        return outputs | {"df_dx": change(outputs["df_dx"])}

    return dict.fromkeys(("serving_default", "hvp"), wrong)


def without_cross_terms(body, tensors):
    """Of the Hessian only its diagonal acts."""
    parts = []
    for index in range(3):
        alone = tensors["x_dot"] * tf.one_hot(index, 3)
        parts.append(body(tensors | {"x_dot": alone})["df_dx_dot"][..., index])
    return body(tensors) | {"df_dx_dot": tf.stack(parts, axis=-1)}


def swapped_rows(array):
    """Rows 0 and 1 change places, where there are two."""
    two = tf.concat([array[1:2], array[:1], array[2:]], 0)
    return tf.cond(tf.shape(array)[0] > 1, lambda: two, lambda: array)


def at_bfloat16(body, tensors):
    """The derivatives are those at the rounded input."""
    rounded = tf.cast(tf.cast(tensors["x"], tf.bfloat16), tf.float32)
    return body(tensors | {"x": rounded}) | {"f": body(tensors)["f"]}


FAULTS = {
    "df scaled by 1 + 1e-3": df_changed(lambda df: df * (1 + 1e-3)),
    "sign flipped in one component": df_changed(lambda df: df * tf.constant([1.0, -1.0, 1.0])),
    "Jacobian transposed": df_changed(lambda df: tf.transpose(df, [0, 2, 1])),
    "hvp without the cross terms": {"hvp": without_cross_terms},
    "two rows swapped within the batch": df_changed(swapped_rows),
    "derivative at the input rounded to bfloat16": {"serving_default": at_bfloat16, "hvp": at_bfloat16},
}


def plant(fault, card, to):
    """Exports the model with a fault, past the checks that would have stopped it, under the right one's card."""
    right = signatures.signature_body

    def wrong(spec, name):
        body = right(spec, name)
        return partial(fault[name], body) if name in fault else body

    def complete_card(package, own, _):
        own = replace(card, digest=digest(package), files=file_digests(package))
        (package / CARD_FILE).write_text(own.to_json())
        return own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "signature_body", wrong)
        patch.setattr(_export, "check_package", lambda *_, **__: {})
        patch.setattr(_export, "write_warmup", lambda *_, **__: None)
        patch.setattr(_export, "complete_card", complete_card)
        return export_model(to).path


def test_the_right_package_passes(right):
    """Nothing is planted, nothing is found; its card carries the proof and reference points of a float64 run."""
    assert right.card.checks["proof"]["passed"]
    assert right.card.reference["method"] == "the package's graph in float64"
    assert right.card.reference["differences"]["df_dx"]["relative"] < 1e-12
    with client.load(right.path) as loaded:
        assert client.verify(loaded, seed=1).passed


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_caught(right, tmp_path, name):
    """In float32, where all signatures are wrong alike but jvp: verify names the tensor."""
    with client.load(plant(FAULTS[name], right.card, tmp_path / "net")) as wrong:
        found = client.verify(wrong)
    assert not found.passed
    assert any("df_dx" in failure for failure in found.failures), found.failures


@pytest.fixture(scope="module")
def scaled(right, tmp_path_factory):
    """A directory with models/net whose df is 0.1% too large, which no difference in float32 can see."""
    base = tmp_path_factory.mktemp("scaled")
    plant(FAULTS["df scaled by 1 + 1e-3"], right.card, base / "models/net")
    return base


@pytest.mark.parametrize("where", ["directory", "address"])
def test_verify_fails_on_a_scaled_derivative(scaled, gradwire, serve, where):
    """The exit code is 1, and the line names the check and the tensor."""
    if where == "directory":
        done = gradwire("verify", "models/net", cwd=scaled, expect=1)
    else:
        with serve("models", cwd=scaled) as server:
            done = gradwire("verify", server.address, "net", cwd=scaled, expect=1)
    assert "WRONG" in done.stdout
    assert "reference: df_dx of serving_default" in done.stderr
