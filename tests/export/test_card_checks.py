"""The checks and reference points that export writes on the card."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import CheckFailed
from gradwire_export import DerivativeWarning, Exported, _export, export

SPEC = {"x": tf.TensorSpec((None, 1), tf.float32)}
CHECKS = ["taylor", "adjoint", "reference", "rows", "non_finite", "kinks", "special", "solve"]


@pytest.fixture(scope="module", autouse=True)
def unchecked():
    """Skip the comparison with the model, which another file tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_export, "check_package", lambda *_, **__: {"trained_model": "seen"})
        patch.setattr(_export, "write_warmup", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def kinked(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A float32 function with a kink at 0.25."""
    return export(lambda x: tf.abs(x - 0.25) * tf.exp(x), to=tmp_path_factory.mktemp("kinked") / "m", inputs=SPEC)


@pytest.mark.slow
def test_the_card_carries_the_proof(kinked: Exported):
    """The checks of verify beside the earlier results, reference points in float64, and the digest of every file."""
    card = kinked.card
    assert list(card.checks) == ["trained_model", "left_out", *CHECKS, "proof"]
    assert card.checks["proof"] == {"passed": True, "points": 64, "seed": 0, "unproven": {}}
    assert all(card.checks[name]["passed"] for name in CHECKS)
    assert "skipped" not in card.checks["reference"]
    assert card.reference is not None
    assert card.reference["method"] == "the package's graph in float64"
    assert "saved_model.pb" in card.files
    assert gradwire.Card.from_json((kinked.path / "assets" / "card.json").read_text()) == gradwire.Card.from_json(
        card.to_json()
    )


def test_kinks_are_reported_and_their_points_left_out(kinked: Exported):
    """The kink is on the card with its place; derivatives beside it are verified."""
    (finding,) = kinked.card.checks["kinks"]["findings"]
    assert "kinks on 16 of 16 lines, such as near x = 0.25" in finding["note"]
    assert kinked.card.reference is not None
    assert kinked.card.reference["differences"]["df_dx"]["worst"] < 1


@pytest.mark.slow
def test_verify_repeats_the_results_on_the_card(kinked: Exported):
    """A loaded package has the same points and the same findings."""
    with gradwire.load(kinked.path) as model:
        again = gradwire.verify(model).to_dict()
    assert json.loads(json.dumps(again)) == {name: kinked.card.checks[name] for name in CHECKS}


@tf.custom_gradient
def through(x: tf.Tensor):
    """A sine whose gradient is made up, as a straight-through estimator's is."""
    return tf.sin(3 * x), lambda upstream: upstream


@pytest.mark.slow
def test_a_made_up_gradient_is_refused(tmp_path: Path):
    """Its first derivative is not that of its values: the message names it and the way out, and nothing is left."""
    with pytest.raises(
        CheckFailed, match=r"derivatives of serving_default are not those of its values: .*df_dx"
    ) as error:
        export(through, to=tmp_path / "m", inputs=SPEC, signatures=("jvp",))
    assert "--keep-unproven (keep_unproven=True)" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_made_up_gradient_is_kept_on_request(tmp_path: Path):
    """A straight-through estimator is deliberately not the derivative: a warning and the card say so."""
    with pytest.warns(DerivativeWarning) as warned:
        exported = export(through, to=tmp_path / "m", inputs=SPEC, signatures=("jvp",), keep_unproven=True)
    texts = [str(each.message) for each in warned]
    assert any(re.match("kept serving_default, which is not proved: .*df_dx", text) for text in texts)
    assert any(re.match("kept jvp, which is not proved: .*f_dot", text) for text in texts)
    assert exported.left_out == {}
    assert "jvp" in exported.card.signatures
    assert not exported.card.checks["proof"]["passed"]
    assert set(exported.card.checks["proof"]["unproven"]) == {"serving_default", "jvp"}
    assert not exported.card.checks["taylor"]["passed"]
    assert exported.card.checks["adjoint"]["passed"]  # its signatures agree with one another
    assert exported.card.reference is not None
    assert exported.card.reference["differences"]["df_dx"]["worst"] > 1
    with gradwire.load(exported.path) as model:
        assert "taylor: df_dx of f wrt x" in gradwire.verify(model).failures
