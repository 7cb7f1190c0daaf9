"""How long Adam takes where labels are noisy and Levenberg-Marquardt is out of reach: as long as held-out rows gain."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire_training import Samples, Value, fit, mlp, optimizers, with_dtype, with_noise
from gradwire_training._progress import Monitor
from gradwire_training.optimizers import _auto, _schedule
from gradwire_training.optimizers._folds import Folds, folds_of
from gradwire_training.optimizers._schedule import choose_schedule

X = np.linspace(-1, 1, 60)
NOISY = with_noise(Samples(X, np.sin(3 * X)), 0.3)
EXACT = Samples(X, np.sin(3 * X))
LENGTHS = (20, 40, 80)
pytestmark = pytest.mark.usefixtures("without_bayes")


@pytest.fixture
def short(monkeypatch):
    """Lengths that take no time."""
    monkeypatch.setattr(_schedule, "STEPS", LENGTHS)


def _model(samples, activation="tanh"):
    return mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(6,), activation=activation, scale=samples)


@pytest.mark.slow
def test_the_error_is_that_of_a_fit_of_this_length(objective, short, monkeypatch):
    """Each length is a fit of its own from the same start, to the rows that are not held out."""
    monkeypatch.setattr(_schedule, "GAIN", -np.inf)  # no length is the last
    whole = objective(with_dtype(_model(NOISY), "float64"), NOISY, Value())
    part = np.arange(60) % 5 == 0
    before = whole.snapshot()
    schedule = choose_schedule(Folds(whole, [part]), Monitor(1, ()), steps=50, work=1e9)
    assert (schedule.tried, schedule.adam) == (2, optimizers.Adam())
    for one, other in zip(before, whole.snapshot(), strict=True):
        np.testing.assert_array_equal(one, other)
    inner, held_out = NOISY.take(np.flatnonzero(~part)), NOISY.take(np.flatnonzero(part))
    settings = {"loss": Value(), "dtype": "float64", "validation": held_out, "optimizer": "adam"}
    errors = [fit(_model(NOISY), inner, steps=steps, **settings).errors["f"]["rmse"] for steps in LENGTHS[:2]]
    assert schedule.steps == LENGTHS[int(np.argmin(errors))]
    assert schedule.error == pytest.approx(min(errors) / NOISY.y["f"].std(), rel=1e-6)


@pytest.mark.slow
def test_many_rows_are_taken_in_batches(objective, monkeypatch):
    """Some epochs of mini-batches, whose number is told in steps."""
    monkeypatch.setattr(_schedule, "MANY", 40)
    monkeypatch.setattr(_schedule, "BATCH", 20)
    monkeypatch.setattr(_schedule, "EPOCHS", (4, 8))
    whole = objective(with_dtype(_model(NOISY), "float64"), NOISY, Value())
    parts, words = folds_of(whole)
    assert (len(parts), words) == (10, "60 rows, each held out 2 times,")
    schedule = choose_schedule(Folds(whole, parts[:2]), Monitor(1, ()), steps=1_000, work=1e9)
    assert schedule.adam == optimizers.Adam(learning_rate=0.03, batch_size=20)
    assert schedule.steps in (12, 24)
    assert choose_schedule(Folds(whole, parts[:2]), Monitor(1, ()), steps=1_000, work=1.0) is None


@pytest.mark.slow
def test_the_best_is_taken_and_told(short, monkeypatch):
    """Where no path of ridges is followed, Adam and L-BFGS are compared; the choice is in the sentence, and repeats."""
    monkeypatch.setattr(_auto, "_may_follow", lambda _: False)
    stop = _auto.Stop(30, 0.9, 0.8)
    monkeypatch.setattr(_auto, "choose_stop", lambda *_, **__: stop)
    result, again = (fit(_model(NOISY), NOISY, loss=Value(), steps=200) for _ in range(2))
    assert set(result.history["optimizer"]) == {"adam"}
    assert result.steps in LENGTHS
    words = result.selection_reason
    assert words.startswith(f"adam, {result.steps} steps: of ")
    assert "it predicts 60 rows, each held out 2 times, best, to " in words
    assert words.endswith("(lbfgs, stopped in time, to 90 %); 19 weights and 60 labels")
    for one, other in zip(result.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_exact_labels_are_left_to_lbfgs(short, monkeypatch):
    """It still gains at its last step on the rows held out, which is told; no schedule of Adam is measured."""
    monkeypatch.setattr(_auto, "_may_follow", lambda _: False)
    monkeypatch.setattr(_auto, "_measured_exactly", lambda *_: None)
    monkeypatch.setattr(_auto, "choose_schedule", lambda *_, **__: pytest.fail("measured"))
    result = fit(_model(EXACT), EXACT, loss=Value(), steps=500)
    assert "without a sign of noise" in result.selection_reason
    assert set(result.history["optimizer"]) == {"lbfgs"}


@pytest.mark.slow
def test_models_that_lm_does_not_fit_are_chosen_for_too():
    """A layer without a Jacobian of its own: noise is seen, and L-BFGS or Adam stops in time."""
    layers = [keras.layers.Dense(12, "tanh"), keras.layers.LayerNormalization(), keras.layers.Dense(1)]
    result = fit(keras.Sequential([keras.Input((1,)), *layers]), NOISY, loss=Value(), steps=350)
    assert "rows, each held out 2 times," in result.selection_reason
    assert result.selection_reason.startswith(("adam", "lbfgs"))
