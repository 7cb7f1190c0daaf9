"""How the default sees noise: by rows held out of the fitted ones, along a path of ridges."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import Derivative, Samples, Sobolev, Value, fit, mlp, optimizers, repeat, with_dtype, with_noise
from gradwire_training._progress import Monitor, checkpoint
from gradwire_training.optimizers import _ridges
from gradwire_training.optimizers._folds import folds_of
from gradwire_training.optimizers._ridges import choose_ridge

STEPS = 400
pytestmark = pytest.mark.usefixtures("without_bayes")


def _truth(x):
    return np.sin(3 * x[:, :1]) * x[:, 1:] + x[:, :1] ** 2


def _samples(noise, rows=40, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (rows, 2))
    return with_noise(Samples({"x": x}, {"f": _truth(x)}), noise, seed=seed)


@pytest.fixture(scope="module")
def others():
    """Exact rows that are never fitted."""
    return _samples(0.0, rows=300, seed=9)


def _fit(samples, optimizer="auto", *, seed=0, steps=STEPS, **settings):
    model = mlp(inputs={"x": 2}, outputs={"f": 1}, widths=(12, 12), activation="tanh", seed=seed, scale=samples)
    return fit(model, samples, loss=Value(), optimizer=optimizer, steps=steps, dtype="float64", **settings)


@pytest.fixture(scope="module")
def noisy(others):
    """The default's fit to noisy values."""
    return _fit(_samples(0.1), validation=others)


@pytest.fixture(scope="module")
def exact(log):
    """The default's fit to exact labels."""
    return fit(log.network(), log.samples(), steps=100)


def _weights(result):
    return np.concatenate([np.array(weight).ravel() for weight in result.model.weights])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_is_ahead_of_a_fit_without_a_ridge(others, seed):
    """40 values with 10 % noise, 205 weights: a fit through all of them misses the truth by half as much again."""
    samples = _samples(0.1, seed=seed)
    default, plain = (
        _fit(samples, optimizer, seed=seed, validation=others).errors["f"]["rmse"] for optimizer in ("auto", "lm")
    )
    assert 1.5 * default < plain


def test_the_choice_is_told_with_the_numbers_that_led_to_it(noisy, tmp_path):
    """The ridge, how many there were, on which rows, and both errors."""
    words = noisy.selection_reason
    assert words.startswith("lm with a ridge of ")
    assert "it predicts 40 rows, each held out 3 times, best, to " in words
    assert words.endswith("; 205 weights and 40 labels")
    assert f'"story": "{words}"' in (noisy.save(tmp_path / "noisy") / "fit.json").read_text()


def test_rows_that_measure_do_not_choose(noisy):
    """Other validation rows, or none, and the fit is the same to the bit."""
    np.testing.assert_array_equal(_weights(_fit(_samples(0.1))), _weights(noisy))


def test_a_choice_is_repeated(noisy, tmp_path):
    """The same path, to the same weights."""
    again = repeat(noisy.save(tmp_path / "noisy"))
    assert again.selection_reason == noisy.selection_reason
    np.testing.assert_array_equal(_weights(again), _weights(noisy))


def test_a_ridge_that_is_given_is_not_chosen(noisy):
    """``Lm(ridge=…)`` pins what auto chose, and ends where it did."""
    ridge = float(noisy.selection_reason.split()[5].rstrip(":"))
    pinned = _fit(_samples(0.1), optimizers.Lm(ridge=ridge))
    assert pinned.selection_reason == ""
    assert pinned.loss == pytest.approx(noisy.loss, rel=0.05)  # the words have two digits of it
    assert _fit(_samples(0.1), optimizers.Lm(ridge=1e3 * ridge)).loss > 2 * noisy.loss


def test_exact_labels_lose_nothing(exact, log):
    """The path sees no noise, and the fit is that of lm to the bit."""
    assert "; no noise is seen: " in exact.selection_reason
    np.testing.assert_array_equal(
        _weights(exact), _weights(fit(log.network(), log.samples(), optimizer="lm", steps=100))
    )


def test_what_cannot_be_held_out_is_left_to_the_size(log):
    """Short fits, few rows, labels that nothing predicts: no ridge is chosen."""
    by_size = "weights and 38 labels, few enough for it"
    assert fit(log.network(), log.samples(), steps=99).selection_reason.endswith(by_size)
    assert _fit(_samples(0.1, rows=14)).selection_reason == "lm: 205 weights and 14 labels, few enough for it"
    random = Samples({"x": _samples(0, rows=40).x["x"]}, {"f": np.random.default_rng(1).normal(size=(40, 1))})
    assert _fit(random).selection_reason == "lm: 205 weights and 40 labels, few enough for it"


def test_parts_of_an_objective_add_up(objective, log):
    """Sums over rows held out and over the others are that of all, pins counted once; variation is that of the mean."""
    model = with_dtype(log.network(), "float64")
    pinned = objective(model, log.samples(), Derivative(log.pins))
    rows = np.arange(pinned.count)
    parts = pinned.take(rows[::3], anchors=False), pinned.take(np.setdiff1d(rows, rows[::3]), anchors=True)
    assert sum(float(part.loss_and_mae()[0]) for part in parts) == pytest.approx(float(pinned.loss_and_mae()[0]))
    assert sum(part.label_count for part in parts) == pinned.label_count == 20
    both = objective(model, log.samples(), Sobolev())
    slopes = log.samples().dydx["f"]["x"]
    scaled = np.std(slopes) / np.sqrt(np.mean(slopes**2)) * np.std(log.samples().y["f"])
    assert both.variation == pytest.approx((np.var(log.samples().y["f"]) + scaled**2) / 2)


def test_rows_of_one_point_are_held_out_together(objective):
    """Else a replicate in the fit would tell what is to be predicted."""
    x = np.repeat(np.linspace(0, 1, 30), 2)
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(2,))
    parts, words = folds_of(objective(model, Samples(x, np.arange(60.0)), Value()))
    assert len(parts) == 15
    assert words == "60 rows, each held out 3 times,"
    for part in parts:
        np.testing.assert_array_equal(part[::2], part[1::2])
    np.testing.assert_array_equal(np.sum(parts, axis=0), 3)


def test_many_rows_hold_out_a_fifth(objective):
    """Fewer are held out several times each, once, or a single fifth of more than four hundred."""
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(2,))

    def folds(rows):
        return folds_of(objective(model, Samples(np.arange(rows), np.arange(rows)), Value()))

    assert [len(folds(rows)[0]) for rows in (14, 40, 100, 400, 401)] == [0, 15, 10, 5, 1]
    (part,), words = folds(500)
    assert part.sum() == 100
    assert words == "100 of 500 rows, held out,"


@pytest.mark.parametrize(("steps", "is_cut"), [(60, True), (3_000, False)])
def test_a_path_is_cut_where_steps_run_out(objective, log, steps, is_cut):
    """Of exact labels the last ridge is the best: only a whole path says that they are exact."""
    whole = objective(with_dtype(log.network(), "float64"), log.samples(), Sobolev())
    choice = choose_ridge(whole, Monitor(1, ()), damping=1e-3, steps=steps)
    assert choice is not None
    assert choice.is_cut == is_cut
    assert (choice.ridge is None) != is_cut


def test_a_path_ends_where_rows_are_predicted_finely(objective, log, monkeypatch):
    """Weaker ridges would tell nothing more of exact labels, and take twice as long."""
    whole = objective(with_dtype(log.network(), "float64"), log.samples(), Sobolev())
    early = choose_ridge(whole, Monitor(1, ()), damping=1e-3, steps=3_000)
    monkeypatch.setattr(_ridges, "FINE", 0.0)
    late = choose_ridge(whole, Monitor(1, ()), damping=1e-3, steps=3_000)
    assert early is not None
    assert late is not None
    assert early.ridge is late.ridge is None
    assert early.tried < late.tried / 2
    assert late.error < early.error < 1e-3


def test_callbacks_hear_of_the_choice_and_can_end_it(monkeypatch):
    """While rows are held out no step of the fit is taken."""
    monkeypatch.setattr("gradwire_training._progress.monitor.CONSULT_SECONDS", 0.0)
    heard = []

    def stop(now):
        heard.append((now.optimizer, now.step))
        return len(heard) == 3

    result = _fit(_samples(0.1), callbacks=[stop])
    assert heard == [("choosing by held-out rows", 0)] * 3
    assert (result.status, result.steps) == ("stopped", 0)


class Killed(BaseException):
    """What nothing catches."""


def test_a_fit_that_was_killed_on_its_path_ends_as_if_it_had_not_been(noisy, tmp_path, monkeypatch):
    """The choice is in the checkpoint, and where on the path the fit was."""
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "LEAST_RATIO", 0)
    monkeypatch.setattr("gradwire_training.optimizers._reporting.REPORT_SECONDS", 0.0)

    def kill(now):
        if now.step == noisy.steps // 2:
            raise Killed

    path = tmp_path / "fit.checkpoint"
    with pytest.raises(Killed):
        _fit(_samples(0.1), callbacks=[kill], checkpoint=path)
    heard = []
    resumed = _fit(_samples(0.1), callbacks=[lambda now: heard.append(now.step)], checkpoint=path, resume=True)
    assert heard[0] == noisy.steps // 2
    assert resumed.selection_reason == noisy.selection_reason
    np.testing.assert_array_equal(_weights(resumed), _weights(noisy))


def test_overfitting_is_said_with_what_helps(others):
    """In the message, which no longer ends at nothing left to gain, and in a note."""
    result = _fit(_samples(0.3), optimizers.Lm(evidence=False), validation=others)
    assert "nothing left to gain" in result.message
    assert "; held-out rows are missed by up to " in result.message
    (note,) = [note for note in result.notes if note.startswith("overfitted: f misses held-out rows by ")]
    assert "slopes beside the values" in note
    assert "the optimizer auto" in note


@pytest.mark.slow
def test_a_fit_that_generalises_gets_no_warning(exact, log):
    """Neither noise that the ridge holds against nor an exact fit is called overfitted."""
    dense = fit(log.network(), with_noise(log.samples(40), 0.05), steps=100)
    assert dense.selection_reason.startswith("lm with a ridge of ")
    for result in (dense, exact):
        assert not any(note.startswith("overfitted") for note in result.notes)
    assert "missed" not in exact.message
