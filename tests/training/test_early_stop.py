"""What the default compares beside a ridge: L-BFGS that stops where rows held out are predicted best."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest

from gradwire_training import Samples, Value, fit, mlp, with_dtype, with_noise
from gradwire_training._progress import Monitor
from gradwire_training.optimizers import _early_stop
from gradwire_training.optimizers._early_stop import choose_stop
from gradwire_training.optimizers._folds import Folds, best_of
from gradwire_training.optimizers._ridges import Choice, error_after

PART = np.arange(50) % 5 == 0
pytestmark = pytest.mark.usefixtures("without_bayes")


@pytest.fixture(scope="module")
def noisy():
    """Fifty values of a sine with 30 % noise."""
    x = np.linspace(-1, 1, 50)
    return with_noise(Samples(x, np.sin(3 * x)), 0.3)


def _model(samples):
    return mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(12,), activation="tanh", scale=samples)


@pytest.mark.slow
def test_the_stop_is_where_the_error_on_rows_held_out_is_smallest(objective, noisy, monkeypatch):
    """Before the last step, at the error that a fit of so many steps to the other rows has there."""
    monkeypatch.setattr(_early_stop, "EVERY", 2)
    whole = objective(with_dtype(_model(noisy), "float64"), noisy, Value())
    before = whole.snapshot()
    stop = choose_stop(Folds(whole, [PART]), Monitor(1, ()), steps=300, most=300)
    assert 0 < stop.steps < 300
    assert not stop.is_falling
    for one, other in zip(before, whole.snapshot(), strict=True):
        np.testing.assert_array_equal(one, other)
    inner, held_out = noisy.take(np.flatnonzero(~PART)), noisy.take(np.flatnonzero(PART))

    def error(steps):
        model, settings = _model(noisy), {"loss": Value(), "dtype": "float64", "validation": held_out}
        result = fit(model, inner, optimizer="lbfgs", steps=steps, **settings)
        spread = noisy.y["f"].std()
        return result.errors["f"]["rmse"] / spread, result.errors["f"]["training_rmse"] / spread

    # Where a network follows noise, rounding decides how: its steps are those of another sum.
    assert (stop.error, stop.fitted) == pytest.approx(error(stop.steps), rel=0.02)
    assert stop.error < error(300)[0]


def test_folds_share_a_program_and_are_measured_apart(objective, noisy):
    """Weights of zero leave rows out; the errors are those on the part, swept or through TensorFlow's tape alike."""
    model = with_dtype(_model(noisy), "float64")
    swept, taped = (objective(model, noisy, loss) for loss in (Value(), Value(huber=1e9)))
    parts = [PART, np.roll(PART, 1)]
    point = np.concatenate([np.ravel(weight) for weight in swept.snapshot()])[: swept.weight_count]
    for whole in (swept, taped):
        folds = Folds(whole, parts)
        for fold, part in enumerate(parts):
            folds.hold_out(fold)
            inner, outer = (whole.take(np.flatnonzero(rows), anchors=False) for rows in (~part, part))
            assert float(folds.objective.loss_and_mae()[0]) == pytest.approx(float(inner.loss_and_mae()[0]))
            start = np.concatenate([np.array(variable).ravel() for variable in whole.trainable])
            expected = np.sqrt(float(outer.loss_and_mae()[0]) / (whole.variation * part.mean()))
            assert folds.error(fold, start) == pytest.approx(expected, rel=1e-9)
            fitted = np.sqrt(float(inner.loss_and_mae()[0]) / (whole.variation * (~part).mean()))
            assert folds.fitted_error(fold, float(inner.loss_and_mae()[0])) == pytest.approx(fitted)
    assert len(point) == swept.weight_count


EXACT = 0.9 ** np.arange(200)
NOISE = [1.0, 0.5, *np.linspace(0.3, 0.29, 198)]  # falls ever more slowly
TURN = [*np.linspace(0.3, 0.29, 60), *np.linspace(0.3, 1.0, 140)]


@pytest.mark.parametrize(
    ("curves", "measured", "steps"),
    [
        ([EXACT], [10], 10),  # told by the first end
        ([NOISE], [200], 200),  # more to gain: followed to the second
        ([TURN], [90], 60),
        ([[0.1, *np.ones(199)]], [21], 1),
        ([EXACT, NOISE], [10, 10], 10),  # no fold goes further than the first of them
    ],
    ids=["exact", "noise", "turn", "patience", "folds"],
)
def test_how_far_a_fold_is_followed(monkeypatch, curves, measured, steps):
    """To the first end where the error falls as that of exact labels does, else on, until it has long been larger."""
    seen = []

    class Scripted:
        parts = curves
        objective = SimpleNamespace(snapshot=list, restore=lambda _: None)

        def hold_out(self, fold):
            self.errors = iter(curves[fold])
            seen.append(0)

        def error(self, fold, point):
            seen[-1] += 1
            return next(self.errors)

        fitted_error = staticmethod(lambda fold, loss: loss)

    def descend(self, surface, start, after, *, steps):
        for _ in range(steps):
            if not after(start, 1.0, 1.0, True):
                return

    monkeypatch.setattr(_early_stop.Lbfgs, "descend", descend)
    monkeypatch.setattr(_early_stop, "Surface", lambda _: SimpleNamespace(start=np.zeros(1), evaluate=list))
    stop = choose_stop(Scripted(), Monitor(1, ()), steps=10 * _early_stop.EVERY, most=200 * _early_stop.EVERY)
    assert seen == measured
    assert stop.steps == steps * _early_stop.EVERY
    assert stop.is_falling == (curves[0] is EXACT)


def test_several_folds_stop_together():
    """At the step that is best for all, not each at its own; a curve that ended stays where it was."""
    assert best_of([[4.0, 1.0, 4.0], [1.0, 2.0]]) == (1, pytest.approx([2.0, np.sqrt(2), np.sqrt(8)]))


@pytest.mark.parametrize(("error", "ahead"), [(0.18, True), (0.195, False), (0.21, False)])
def test_the_better_of_the_two_is_taken(noisy, monkeypatch, error, ahead):
    """L-BFGS only if it predicts the same rows better than the best ridge, by a twentieth; both errors are told."""
    choice = Choice(ridge=1e-4, error=0.3, fitted=0.25, last=0.5, tried=9, rows="10 rows", parts=(PART,), beside=0.2)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_ridge", lambda *_, **__: choice)
    stop = _early_stop.Stop(30, error)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_stop", lambda *_, **__: stop)
    result = fit(_model(noisy), noisy, loss=Value(), steps=200)
    assert set(result.history["optimizer"]) == {"lbfgs" if ahead else "lm"}
    assert (result.steps == 30) == ahead
    words = result.selection_reason
    assert words.startswith("lbfgs, 30 steps: " if ahead else "lm with a ridge of 0.0001: ")
    assert ("(lm with the best of 9 ridges to 20 %)" in words) == ahead
    assert ("(lbfgs, stopped in time, to " in words) != ahead


@pytest.mark.parametrize(
    ("stop", "optimizers", "words"),
    [
        (_early_stop.Stop(30, 0.1, fitted=0.05), {"lbfgs"}, "lbfgs, 30 steps: it predicts 10 rows best"),
        (_early_stop.Stop(30, 0.3, fitted=0.25), {"lm"}, "lm with a ridge of 0.0001: "),
        (
            _early_stop.Stop(30, 0.1, is_falling=True),
            {"lbfgs"},
            "in the first 30 steps it predicts 10 rows to 10 % of the labels' spread without a sign of noise (better than lm",
        ),
        (_early_stop.Stop(30, 0.3, is_falling=True), {"lm"}, "no noise is seen in 30 steps of lbfgs"),
        (None, {"lm"}, "lm with a ridge of 0.0001: "),
    ],
)
def test_a_path_that_was_cut_tells_nothing_of_weaker_ridges(noisy, monkeypatch, stop, optimizers, words):
    """Its last ridge is the best because time ran out, not because labels are exact: L-BFGS tells whether they are."""
    choice = Choice(ridge=1e-4, error=0.2, fitted=0.2, last=0.2, tried=2, rows="10 rows", parts=(PART,), beside=0.2)
    cut = dataclasses.replace(choice, is_cut=True)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_ridge", lambda *_, **__: cut)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_stop", lambda *_, **__: stop)
    result = fit(_model(noisy), noisy, loss=Value(), steps=200)
    assert set(result.history["optimizer"]) == optimizers
    assert words in result.selection_reason


@pytest.mark.parametrize(("error", "optimizer"), [(0.1, "lm"), (0.29, "lbfgs"), (None, "lbfgs")])
def test_steps_of_tenths_of_a_second_are_worth_it_where_they_predict_better(noisy, monkeypatch, error, optimizer):
    """Where a path of ridges would take too long, lm is measured without one beside L-BFGS; both errors are told."""
    monkeypatch.setattr("gradwire_training.optimizers._auto._may_follow", lambda _: False)
    monkeypatch.setattr("gradwire_training.optimizers._auto.error_after", lambda *_, **__: error)
    stop = _early_stop.Stop(30, 0.3, fitted=0.25)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_stop", lambda *_, **__: stop)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_schedule", lambda *_, **__: None)
    result = fit(_model(noisy), noisy, loss=Value(), steps=200)
    assert set(result.history["optimizer"]) == {optimizer}
    assert ("(lbfgs, stopped in time, to 30 %)" in result.selection_reason) == (optimizer == "lm")


def test_lm_without_a_ridge_is_given_up_where_it_follows_noise(objective, noisy):
    """Exact labels are predicted ever better."""
    exact = Samples(noisy.x, {"f": np.sin(3 * noisy.x["x"])})
    errors = [
        error_after(
            100, [PART], objective(with_dtype(_model(rows), "float64"), rows, Value()), Monitor(1, ()), damping=1e-3
        )
        for rows in (exact, with_noise(exact, 0.5))
    ]
    assert errors[0] is not None
    assert errors[0] < 1e-3
    assert errors[1] is None


@pytest.mark.parametrize(
    ("is_cut", "words"), [(True, "there is no time to tell how noisy"), (False, "lm with a ridge of")]
)
def test_with_little_time_no_other_program_is_compiled(noisy, monkeypatch, is_cut, words):
    """It would take what is left; a path that was cut tells nothing, and a whole one decides."""
    choice = Choice(ridge=1e-4, error=0.2, fitted=0.2, last=0.2, tried=2, rows="10 rows", parts=(PART,), beside=0.2)
    choice = dataclasses.replace(choice, is_cut=is_cut)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_ridge", lambda *_, **__: choice)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_stop", lambda *_, **__: pytest.fail("compiled"))
    result = fit(_model(noisy), noisy, loss=Value(), steps=200, seconds=2)
    assert set(result.history["optimizer"]) == {"lm"}
    assert words in result.selection_reason


def test_time_is_divided_among_the_runs_to_come():
    """Each may take as long as leaves the fit its part; one that ends early leaves more to the others."""
    monitor = Monitor(1, (), seconds=100.0, began=time.perf_counter() - 10)
    assert monitor.share_for(2, 1.25) == pytest.approx(0.1 + 0.9 / 3.25, abs=1e-3)
    assert monitor.share_for(1, 1.25) == pytest.approx(0.1 + 0.9 / 2.25, abs=1e-3)
    with monitor.until(0.5):
        assert monitor.goes_on(1.0, 1.0, "", share=0.99)
        assert monitor.share_for(1, 0) == 1.0
        assert not monitor.time_is_up
    assert Monitor(1, ()).share_for(1, 1.25) == pytest.approx(1 / 2.25)
    late = Monitor(1, (), seconds=1.0, began=time.perf_counter() - 10)
    assert not late.goes_on(1.0, 1.0, "", share=late.share_for(1, 1.25))


@pytest.mark.slow
def test_adam_leaves_its_part_of_the_time_to_lbfgs(monkeypatch):
    """Where its steps take longer than the time that there is."""

    def slow(_, objective, monitor, *, steps):
        while not monitor.time_is_up:
            time.sleep(0.01)
        monitor.report(np.ones(1), np.ones(1), "adam", xla=True)

    def quick(_, objective, monitor, *, steps):
        monitor.report(np.ones(1), np.ones(1), "lbfgs", xla=True)

    monkeypatch.setattr("gradwire_training.optimizers._auto.Adam.minimize", slow)
    monkeypatch.setattr("gradwire_training.optimizers._auto.Lbfgs.minimize", quick)
    x = np.linspace(-1, 1, 2_000)
    many = Samples(x, np.sin(3 * x))
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(64, 64), activation="tanh", scale=many)
    result = fit(model, many, loss=Value(), steps=99, seconds=20)
    assert set(result.history["optimizer"]) == {"adam", "lbfgs"}


@pytest.mark.slow
@pytest.mark.parametrize("is_cut", [True, False])
def test_what_gains_from_start_to_end_goes_on(monkeypatch, is_cut):
    """L-BFGS is not at a flat start, and needs no Adam before it; whether time or steps ended what was measured."""
    stop = _early_stop.Stop(50, 0.1, is_falling=True, is_cut=is_cut)
    monkeypatch.setattr("gradwire_training.optimizers._auto.choose_stop", lambda *_, **__: stop)
    x = np.linspace(-1, 1, 2_000)
    many = Samples(x, np.sin(3 * x))
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(64, 64), activation="tanh", scale=many)
    result = fit(model, many, loss=Value(), steps=140)
    assert set(result.history["optimizer"]) == {"lbfgs"}
    assert "lbfgs: in the first 50 steps it predicts " in result.selection_reason
    assert "without a sign of noise" in result.selection_reason
