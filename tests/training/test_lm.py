"""Levenberg-Marquardt: its algebra, what it reaches, how it ends, and what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from gradwire._errors import UsageError
from gradwire_training import Derivative, Samples, Sobolev, Value, fit, mlp, optimizers, with_dtype
from gradwire_training._jacobian.residuals import Residuals, residuals_of
from gradwire_training.optimizers._auto import _pick
from gradwire_training.optimizers._damped import Dual, Primal, damped_at
from gradwire_training.optimizers._evidence import Ridge

RIDGE, DAMPING = 0.3, 0.7


class _Line(Residuals):
    """Residuals r + J p with a J that is given."""

    def __init__(self, jacobian, errors):
        self._jacobian, self._errors = jacobian, errors
        self.count, self.weights = jacobian.shape
        self.terms = (self.count,)

    def at(self, point):
        return self._errors + self._jacobian @ point, 0.0

    def parts(self, point):
        errors = self.at(point)[0]
        half = self.count // 2
        yield [(errors[:half], self._jacobian[:half])]
        yield [(errors[half:], self._jacobian[half:])]


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)], ids=["dual", "primal", "square"])
@pytest.mark.parametrize("ridge", [0.0, RIDGE])
def test_a_step_is_the_least_squares_solution(shape, ridge):
    """Both forms make |r + J h|^2 + ridge |p + h|^2 + damping |h|^2 smallest, as NumPy's lstsq does."""
    generator = np.random.default_rng(0)
    line = _Line(generator.normal(size=shape), generator.normal(size=shape[0]))
    point = generator.normal(size=shape[1])
    equations = damped_at(line, point)
    assert isinstance(equations, Dual if shape[0] < shape[1] else Primal)
    step = equations.step(ridge, DAMPING)
    one = np.eye(shape[1])
    stacked = np.concatenate([line._jacobian, np.sqrt(ridge) * one, np.sqrt(DAMPING) * one])
    right = np.concatenate([line.at(point)[0], np.sqrt(ridge) * point, np.zeros(shape[1])])
    np.testing.assert_allclose(step, -np.linalg.lstsq(stacked, right)[0], rtol=1e-10)

    def total(at):
        return np.sum(line.at(at)[0] ** 2) + ridge * at @ at

    assert equations.predicted(step, ridge) == pytest.approx(total(point) - total(point + step), rel=1e-10)
    values = np.linalg.svd(line._jacobian, compute_uv=False) ** 2
    np.testing.assert_allclose(np.sort(equations.spectrum())[::-1][: len(values)], values, rtol=1e-9)


def test_a_matrix_that_is_not_positive_asks_for_more_damping():
    """Cholesky fails where rounding left a negative eigenvalue: None, and no step."""
    equations = damped_at(_Line(np.ones((2, 5)), np.ones(2)), np.zeros(5))
    assert equations.step(0.0, -1.0) is None


def test_the_evidence_finds_the_noise():
    """For a linear model with known noise and prior, the ridge comes near noise variance over prior variance."""
    generator = np.random.default_rng(2)
    jacobian, noise = generator.normal(size=(400, 20)), 0.1
    truth = generator.normal(size=20)
    line = _Line(jacobian, -(jacobian @ truth + noise * generator.normal(size=400)))
    point, ridge = np.zeros(20), Ridge(due=0, seen=0.0)
    for step in range(30):
        equations = damped_at(line, point)
        errors = line.at(point)[0]
        ridge = ridge.estimated(100 * step, equations, errors @ errors, first=1e9, size=point @ point, residuals=400)
        point = point + equations.step(ridge.value, 1e-12)
    assert ridge.value == pytest.approx(noise**2, rel=0.6)  # 20 weights tell their variance no better


def _evidence(jacobian, errors, settle):
    """Estimates the ridge of a linear model, at its minimum each time, until the two agree."""
    line, point, estimates = _Line(jacobian, errors), np.zeros(jacobian.shape[1]), [0.0]
    for _ in range(settle):
        equations, loss = damped_at(line, point), float(np.sum(line.at(point)[0] ** 2))
        size = float(point @ point) or 1.0
        due = Ridge(estimates[-1], due=0, seen=0.0)
        ridge = due.estimated(0, equations, loss, first=1e9, size=size, residuals=len(errors))
        point = point + equations.step(ridge.value, 0.0)
        estimates.append(ridge.value)
    return estimates[-1]


@pytest.mark.parametrize("shape", [(30, 8), (12, 20)], ids=["primal", "dual"])
def test_the_evidence_has_its_maximum_at_the_ridge(shape):
    """Labels are Gaussian, with the noise and the prior of the weights in their covariance: the most likely ratio."""
    generator = np.random.default_rng(7)
    jacobian = generator.normal(size=shape)
    labels = jacobian @ generator.normal(size=shape[1]) + 0.8 * generator.normal(size=shape[0])

    def improbability(logarithms):
        noise, prior = np.exp(logarithms)
        covariance = noise * np.eye(shape[0]) + prior * jacobian @ jacobian.T
        return -scipy.stats.multivariate_normal.logpdf(labels, cov=covariance)

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 2_000}
    noise, prior = np.exp(scipy.optimize.minimize(improbability, [0, 0], method="Nelder-Mead", options=options).x)
    assert _evidence(jacobian, -labels, 300) == pytest.approx(noise / prior, rel=1e-5)


def test_the_first_estimate_takes_half_of_the_residuals_as_degrees_of_freedom():
    """Then three rounds of gamma = tr J (J'J + ridge)^-1 J' and ridge = gamma / |p|^2 F / (m - gamma), for |p| = 1."""
    generator = np.random.default_rng(8)
    jacobian, errors = generator.normal(size=(30, 8)), generator.normal(size=30)
    loss, gamma, ridge = errors @ errors, 15.0, None
    for _ in range(3):
        if ridge is not None:
            gamma = np.trace(jacobian @ np.linalg.solve(jacobian.T @ jacobian + ridge * np.eye(8), jacobian.T))
        ridge = gamma * loss / (30 - gamma)
    assert _evidence(jacobian, errors, 1) == pytest.approx(ridge, rel=1e-10)


@pytest.fixture(scope="module")
def exact(log):
    """A short fit of the logarithm with derivatives."""
    return fit(log.network(seed=0), log.samples(), optimizer="lm", steps=600, dtype="float64")


def test_the_logarithm_is_learned_to_five_digits(exact):
    """A seventh of the default's steps leave |f - log x| below 1e-4 and |df/dx - 1/x| below 6e-3."""
    assert exact.errors["f"]["max"] < 1e-4  # margin: five seeds ended near 4e-5 and 2e-3
    assert exact.errors["df_dx"]["max"] < 6e-3
    assert np.all(np.diff(exact.history["loss"]) <= exact.history["loss"][:-1] * 0.1)
    assert exact.loss == pytest.approx(exact.history["loss"][-1], rel=1e-6)
    assert (exact.steps, exact.message) == (600, "completed 600 steps")


def test_the_package_in_float32_is_as_good(exact, log):
    """Rounding the weights to float32 costs less than the fit's own error."""
    single = fit(log.network(seed=0), log.samples(), optimizer="lm", steps=600)
    np.testing.assert_allclose(single.history["loss"], exact.history["loss"], rtol=1e-6)
    assert single.model.dtype == "float32"
    assert single.errors["f"]["max"] < exact.errors["f"]["max"] + 5e-6


def test_derivatives_alone_are_learned_with_the_value_pinned(log):
    """With f(1) = 0 pinned, derivative data give the values too."""
    result = fit(log.network(seed=0), log.samples(60), loss=log.loss("derivative"), optimizer="lm", steps=300)
    assert result.errors["f"]["max"] < 1e-3
    assert isinstance(result.request.loss, Derivative)


@pytest.mark.slow
def test_several_inputs_and_outputs_are_fitted(pair_samples):
    """Directions, vectors and missing labels go through one Jacobian; polynomials are learned well."""
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(20, 20), activation="tanh")
    result = fit(model, pair_samples, optimizer="lm", steps=600, dtype="float64")
    tensors = [entry for entry in result.errors.values() if isinstance(entry, dict)]
    assert max(entry["max"] for entry in tensors) < 2e-2


@pytest.mark.slow
def test_a_model_of_other_layers_is_fitted_by_the_tape(objective):
    """A convolution's Jacobian comes from TensorFlow; it finds the line that it can be."""
    layers = [keras.layers.Reshape((1, 1)), keras.layers.Conv1D(1, 1), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((1,)), *layers])
    x = np.linspace(-1, 1, 9)
    result = fit(model, Samples(x, 2 * x - 1, np.full(9, 2.0)), optimizer="lm", steps=50, dtype="float64")
    kernel, bias = result.model.get_weights()
    np.testing.assert_allclose([kernel.item(), bias.item()], [2, -1], atol=1e-12)


@pytest.mark.slow
def test_it_goes_on_while_the_loss_falls(log):
    """Exact labels let the loss fall for thousands of steps; that the ridge is estimated on the way ends nothing."""
    result = fit(log.network(seed=3), log.samples(60, spacing="log"), optimizer="lm", steps=800)
    assert result.steps == 800


def test_it_ends_when_nothing_is_left_to_gain(line):
    """A parabola is done in a few steps: the loss is rounding; and where noise stays, the loss has settled."""
    x = np.linspace(-1, 1, 9)
    result = fit(line(0.0, 0.0), Samples(x, 2 * x - 1), loss=Value(), optimizer="lm", dtype="float64")
    assert result.steps < 50
    assert result.message == f"completed: nothing left to gain after {result.steps} of 4,000 steps"
    noisy = Samples(x, 2 * x - 1 + 0.1 * np.cos(40 * x))
    settled = fit(line(0.0, 0.0), noisy, loss=Value(), optimizer="lm", dtype="float64")
    assert settled.steps < 400


def test_time_ends_it_too(log):
    """The step that passes the seconds is the last; it is a completed fit with the weights of that step."""
    result = fit(log.network(), log.samples(), optimizer="lm", steps=10**6, seconds=0.3)
    assert result.status == "completed"
    assert result.message.startswith(f"completed: the time was up after {result.steps:,} of 1,000,000 steps")
    assert result.loss == pytest.approx(result.history["loss"][-1], rel=1e-6)


def test_seconds_are_above_zero(log):
    """No time at all would be no fit."""
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match=r"seconds, expected a number above 0"):
            fit(log.network(), log.samples(), seconds=seconds)


def _with(layer):
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(4, "tanh"), layer, keras.layers.Dense(1)])


REFUSED = {
    "dropout": (lambda: _with(keras.layers.Dropout(0.5)), "adam", "random numbers in training"),
    "bounds": (lambda: _with(keras.layers.Dense(3, kernel_constraint="non_neg")), "lbfgs", "may not be negative"),
    "regulariser": (lambda: _with(keras.layers.Dense(3, kernel_regularizer="l2")), "lbfgs", "losses of its own"),
    "activity": (lambda: _with(keras.layers.Dense(3, activity_regularizer="l2")), "lbfgs", "losses of its own"),
}


@pytest.mark.parametrize(("build", "last", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_sum_of_squares_is_refused(objective, log, build, last, message):
    """The message says why, and what to use; auto takes that by itself."""
    with pytest.raises(UsageError, match=rf"{message}.*, which lm does not honour: use auto or adam or "):
        fit(build(), log.samples(), loss=Value(), optimizer="lm", steps=2)
    picked, reason = _pick(objective(with_dtype(build(), "float64"), log.samples(), Value()))
    assert picked == {"adam": "adam", "lbfgs": "adam, then lbfgs"}[last]
    assert message in reason


def test_a_start_that_is_not_finite_is_said(log):
    """As with the other optimisers, the fit has diverged."""
    model = log.network()
    model.set_weights([np.full_like(weight, np.inf) for weight in model.get_weights()])
    assert fit(model, log.samples(), optimizer="lm", steps=5).status == "diverged"


def test_residuals_stay_finite_where_a_step_would_not(objective, log):
    """An exponential network overflows at trial points; they are refused and the loss only falls."""
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(8,), activation="exponential")
    result = fit(model, log.samples(), optimizer=optimizers.Lm(damping=1e-12), steps=60)
    assert result.status == "completed"
    assert result.loss < 0.1
    assert residuals_of(objective(result.model, log.samples(), Sobolev())).count == 38
