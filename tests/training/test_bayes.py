"""Bayesian regularization: its precisions, what the labels' noise does to it, the evidence, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
from threadpoolctl import threadpool_limits

from gradwire._errors import UsageError
from gradwire_training import (
    Derivative,
    Samples,
    Sobolev,
    Value,
    fit,
    mlp,
    optimizers,
    problems,
    with_dtype,
    with_noise,
)
from gradwire_training._jacobian.residuals import Residuals, Taped, residuals_of
from gradwire_training._progress import Monitor, checkpoint
from gradwire_training.optimizers import _auto
from gradwire_training.optimizers._bayes import Bayes, held_out_errors, suits
from gradwire_training.optimizers._early_stop import Stop
from gradwire_training.optimizers._folds import folds_of, weights_of
from gradwire_training.optimizers._posterior import Posterior, groups_of
from gradwire_training.optimizers._ridges import Choice


class _Line(Residuals):
    """Residuals r + J p of two terms, with J given."""

    def __init__(self, jacobian, errors, terms):
        self._jacobian, self._errors, self.terms = jacobian, errors, terms
        self.count, self.weights = jacobian.shape

    def at(self, point):
        return self._errors + self._jacobian @ point, 0.0

    def parts(self, point):
        ends = np.cumsum(self.terms)[:-1]
        yield list(zip(np.split(self.at(point)[0], ends), np.split(self._jacobian, ends), strict=True))


@pytest.fixture(scope="module")
def line():
    """Labels of a line in five weights, of which two are zero; the second term is four times as noisy."""
    generator = np.random.default_rng(1)
    jacobian = generator.normal(size=(100, 5))
    noise = np.repeat([0.1, 0.4], [60, 40]) * generator.normal(size=100)
    return _Line(jacobian, jacobian @ [-2.0, 1.0, -0.5, 0.0, 0.0] + noise, (60, 40))


GROUPS = np.array([0, 0, 1, 2, 2])


def _settled(residuals, groups, point=None):
    posterior = Posterior(residuals, np.full(residuals.weights, 0.1) if point is None else point, groups, damping=1e-3)
    with threadpool_limits(1):
        for _ in range(400):
            posterior.step()
            if posterior.is_settled:
                break
    return posterior


def _evidence(line, logarithms):
    """The labels' log probability under precisions of noise and priors: a Gaussian, for a model that is linear."""
    beta, alpha = np.exp(logarithms[:2]), np.exp(logarithms[2:])
    covariance = np.diag(np.repeat(1 / beta, line.terms)) + line._jacobian / alpha[GROUPS] @ line._jacobian.T
    sign, determinant = np.linalg.slogdet(covariance)
    assert sign == 1
    return -0.5 * (line._errors @ np.linalg.solve(covariance, line._errors) + determinant)


def test_the_precisions_make_the_labels_most_probable(line):
    """As an optimiser finds them that knows the labels' probability alone."""
    posterior = _settled(line, GROUPS)
    with threadpool_limits(1):  # of small matrices, threads wait for one another
        best = scipy.optimize.minimize(
            lambda at: -_evidence(line, at), np.zeros(5), method="L-BFGS-B", bounds=[(-18.0, 18.0)] * 5
        )
    np.testing.assert_allclose(posterior.noise(), np.exp(-0.5 * best.x[:2]), rtol=5e-3)
    np.testing.assert_allclose(posterior.noise(), [0.1, 0.4], rtol=0.2)
    assert posterior.evidence == pytest.approx(-best.fun, abs=1.5)  # a group that is lost goes slowly
    assert 2.5 < posterior.known < 4.5  # three weights are told


def test_weights_that_help_nothing_are_lost(line):
    """The group of two zeros; the others are where least squares has them, within the labels' noise."""
    posterior = _settled(line, GROUPS)
    np.testing.assert_allclose(posterior.best[:3], [2.0, -1.0, 0.5], atol=0.03)
    assert np.all(np.abs(posterior.best[3:]) < 0.01)


def test_noise_of_values_and_of_slopes_is_told_apart(objective):
    """Each within a fifth; so that how the loss weighs them has no effect."""
    generator = np.random.default_rng(0)
    x = np.linspace(0, 3, 120)[:, None]
    y, slope = np.sin(2 * x), 2 * np.cos(2 * x)
    samples = Samples(x, y + generator.normal(0, 0.01, y.shape), slope + generator.normal(0, 0.3, y.shape))
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(8,), activation="tanh", scale=samples)
    whole = objective(model, samples, Sobolev())
    posterior = _settled(residuals_of(whole), groups_of(whole.trainable), weights_of(whole.trainable))
    noise = [one / float(term.factor.ravel()[0]) for one, term in zip(posterior.noise(), whole.terms, strict=True)]
    np.testing.assert_allclose(noise, [0.01, 0.3], rtol=0.2)
    ends = [
        fit(model, samples, loss=Sobolev(derivative_weight=weight), optimizer="bayes").model.predict(x, verbose=0)
        for weight in (0.01, 1.0, 100.0)
    ]
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-3)
    np.testing.assert_allclose(ends[2], ends[1], atol=2e-3)


def test_an_input_of_no_use_is_not_used():
    """What leaves it has a prior of its own."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (150, 3))
    f = np.sin(2 * x[:, :1]) + x[:, 1:2] ** 2
    samples = Samples({"x": x}, {"f": f + generator.normal(0, 0.1, f.shape)})
    model = mlp(inputs={"x": 3}, outputs={"f": 1}, widths=(8, 8), activation="softplus", scale=samples)
    result = fit(model, samples, loss=Value(), optimizer="bayes", dtype="float64")
    moved = x + np.array([0, 0, 0.5])
    change = result.model.predict(moved, verbose=0) - result.model.predict(x, verbose=0)
    assert np.sqrt(np.mean(change**2)) < 0.01
    assert np.sqrt(np.mean((result.model.predict(x, verbose=0) - f) ** 2)) < 0.04  # 150 rows of 0.1, some 15 weights


def test_the_most_probable_point_is_kept(objective):
    """Where later estimates lose it again, it is the one that the fit ends with."""
    samples = with_noise(problems.get("log").samples(60, seed=1), 0.1, seed=1)
    x = samples.x["x"]
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(8, 8), activation="softplus", seed=1, scale=samples)
    whole = objective(model, samples, Sobolev())
    start = weights_of(whole.trainable)
    posterior = Posterior(residuals_of(whole), start, groups_of(whole.trainable), damping=1e-3)
    passed = []
    with threadpool_limits(1):
        while not posterior.is_settled:
            posterior.step()
            passed.append((posterior.evidence, posterior.point))
    evidences = [evidence for evidence, _ in passed]
    assert evidences == sorted(evidences)
    first = evidences.index(evidences[-1])
    assert first < len(passed) - 1
    np.testing.assert_array_equal(posterior.best, passed[first][1])
    ended = fit(model, samples, loss=Sobolev(), optimizer="bayes", dtype="float64").model.predict(x, verbose=0)
    whole.move_to(posterior.best)
    np.testing.assert_allclose(ended, np.asarray(whole.model(x)), rtol=1e-4)


def test_exact_labels_end_where_steps_do(log):
    """Nothing overflows, though no noise is left to be estimated."""
    result = fit(log.network(), log.samples(), optimizer="bayes", steps=150)
    assert result.status == "completed"
    assert result.errors["f"]["rmse"] < 1e-3


def test_a_fit_that_was_killed_goes_on(log, tmp_path, monkeypatch):
    """With the precisions, and whatever they were estimated from: to the bit."""
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr("gradwire_training.optimizers._reporting.REPORT_SECONDS", 0.0)
    model, samples, path = log.network(), with_noise(log.samples(), 0.02), tmp_path / "fit.checkpoint"

    class Killed(BaseException):
        pass

    def kill(now):
        if now.step == 33:
            raise Killed

    settings = {"optimizer": "bayes", "steps": 60, "checkpoint": path}
    with pytest.raises(Killed):
        fit(model, samples, callbacks=[kill], **settings)
    resumed, whole = fit(model, samples, resume=True, **settings), fit(model, samples, **settings)
    assert resumed.steps == whole.steps
    for one, other in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_held_out_rows_are_not_seen(objective):
    """The error on a fold is that of a fit to the other rows; of several networks the most probable one's."""
    samples = with_noise(problems.get("log").samples(40), 0.05)
    models = [
        mlp(inputs={"x": 1}, outputs={"f": 1}, widths=widths, activation="tanh", scale=samples)
        for widths in ((1,), (5,))
    ]
    wholes = [objective(model, samples, Sobolev()) for model in models]
    parts = folds_of(wholes[0])[0][:2]
    alone = [held_out_errors([whole], Monitor(1, ()), parts) for whole in wholes]
    assert held_out_errors(wholes, Monitor(1, ()), parts) == alone[1]
    whole, part = wholes[1], parts[0]
    inner, outer = (residuals_of(whole.take(np.flatnonzero(rows), anchors=False)) for rows in (~part, part))
    end = _settled(inner, groups_of(whole.trainable), weights_of(whole.trainable))
    squares = np.mean(outer.at(end.best)[0] ** 2)
    assert alone[1][0] == pytest.approx(math.sqrt(squares / (whole.variation / whole.label_count)))
    assert held_out_errors(wholes, Monitor(1, (), seconds=1e-9), parts) is None


def test_the_groups_are_what_leaves_each_unit(objective, log):
    """Rows of a kernel; a bias is one."""
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(2, 3), activation="tanh", scale=log.samples())
    whole = objective(model, log.samples(), Value())
    expected = [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(groups_of(whole.trainable), expected)


def test_a_tape_and_a_sweep_have_the_same_parts(objective, log):
    """The residuals of values, then those of derivatives, with their Jacobians."""
    samples = log.samples()
    model = with_dtype(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(3,), activation="tanh", scale=samples), "float64")
    whole = objective(model, samples, Sobolev())
    point = weights_of(whole.trainable)
    swept = residuals_of(whole)
    assert swept.terms == (19, 19)
    ((values, slopes),) = swept.parts(point)
    ((taped_values, taped_slopes),) = Taped(whole).parts(point)
    for one, other in ((values, taped_values), (slopes, taped_slopes)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-12)
        np.testing.assert_allclose(one[1], other[1], atol=1e-12)


def test_what_it_does_not_suit_is_told(objective, log, monkeypatch):
    """Many weights and pins; signs, pins, and matrices that memory does not hold are refused by name."""
    samples = log.samples()
    small, large = (mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(width, width), scale=samples) for width in (4, 40))
    assert suits(objective(small, samples, Sobolev()))
    assert not suits(objective(large, samples, Sobolev()))
    assert not suits(objective(small, samples, Derivative(log.pins)))
    with pytest.raises(UsageError, match=r"signs to be kept .* which bayes does not honour"):
        fit(small, samples, loss=Value(monotone="f:x+"), optimizer="bayes")
    with pytest.raises(UsageError, match="the loss pins 1 values as exact: use lm or lbfgs"):
        fit(small, samples, loss=Derivative(log.pins), optimizer="bayes")
    monkeypatch.setattr("gradwire_training.optimizers._bayes.REFUSED_BYTES", 1_000)
    with pytest.raises(UsageError, match=r"33 weights are too many for bayes, .* the loss's 2 terms, 0.0 GiB in all"):
        fit(small, samples, optimizer="bayes")
    with pytest.raises(UsageError, match="damping is -1"):
        optimizers.Bayes(damping=-1)


def test_time_ends_a_fit(log):
    """It keeps the weights it has."""
    result = fit(log.network(), with_noise(log.samples(), 0.02), optimizer="bayes", seconds=1e-9)
    assert result.steps == 1
    assert "the time was up" in result.message
    assert Bayes.steps == 400


@pytest.fixture(scope="module")
def waves():
    """Sixty values of a sine with 30 % noise, and the truth."""
    x = np.linspace(-1, 1, 60)
    return with_noise(Samples(x, np.sin(3 * x)), 0.3), Samples(x, np.sin(3 * x))


def _model(samples):
    return mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(12,), activation="tanh", scale=samples)


@pytest.mark.parametrize(("error", "optimizer"), [(0.2, "bayes"), (0.209, "bayes"), (0.22, "lm")])
def test_auto_takes_it_unless_another_predicts_clearly_better(waves, monkeypatch, error, optimizer):
    """By a twentieth; both errors are told."""
    samples, _ = waves
    part = np.arange(60) % 5 == 0
    choice = Choice(ridge=1e-4, error=0.3, fitted=0.25, last=0.5, tried=9, rows="12 rows", parts=(part,), beside=0.2)
    monkeypatch.setattr(_auto, "choose_ridge", lambda *_, **__: choice)
    monkeypatch.setattr(_auto, "choose_stop", lambda *_, **__: Stop(30, 0.4, fitted=0.3))
    monkeypatch.setattr(_auto, "held_out_errors", lambda *_, **__: (error,))
    result = fit(_model(samples), samples, loss=Value(), steps=200)
    assert set(result.history["optimizer"]) == {optimizer}
    words = result.selection_reason
    if optimizer == "bayes":
        assert words.startswith("bayes: with priors and noise as the labels tell them it predicts 12 rows to ")
        assert "(lm with the best of 9 ridges to 20 %, lbfgs, stopped in time, to 40 %)" in words
    else:
        assert "(bayes to 22 %, lbfgs, stopped in time, to 40 %)" in words


@pytest.mark.parametrize(
    ("error", "held_out", "optimizer"), [(0.02, 0.01, "bayes"), (0.02, 0.02, "lm"), (1e-4, 1e-6, "lm")]
)
def test_where_no_ridge_helps_it_has_to_be_clearly_better(waves, monkeypatch, error, held_out, optimizer):
    """And is not asked where labels look exact."""
    _, samples = waves
    part = np.arange(60) % 5 == 0
    choice = Choice(
        ridge=None, error=error, fitted=error, last=error, tried=9, rows="12 rows", parts=(part,), beside=error
    )
    monkeypatch.setattr(_auto, "choose_ridge", lambda *_, **__: choice)
    monkeypatch.setattr(_auto, "held_out_errors", lambda *_, **__: (held_out,))
    result = fit(_model(samples), samples, loss=Value(), steps=200)
    assert set(result.history["optimizer"]) == {optimizer}
    assert ("lm without a ridge to 2 %" in result.selection_reason) == (optimizer == "bayes")


@pytest.mark.slow
def test_auto_fits_noise_no_more_than_the_labels_bear(waves):
    """Against the truth, a third of the noise at most; L-BFGS that goes on to its end has more."""
    samples, truth = waves
    errors = {
        name: fit(_model(samples), samples, loss=Value(), validation=truth, optimizer=name, dtype="float64").errors
        for name in ("auto", "lbfgs")
    }
    noise = 0.3 * float(truth.y["f"].std())
    assert errors["auto"]["f"]["rmse"] < noise / 3 < errors["lbfgs"]["f"]["rmse"]
