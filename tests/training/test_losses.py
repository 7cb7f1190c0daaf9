"""The losses against closed forms, central differences, and each other; missing labels."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Derivative, Samples, Sobolev, Value, fit, losses, mlp, with_dtype
from gradwire_training._jacobian.residuals import Taped, residuals_of

X = np.linspace(0.2, 1.8, 7)
LOG = Samples(X, np.log(X), 1 / X)
PINS = Samples([1.0, 2.0], [0.0, np.log(2.0)])
RELATIVE = np.var(np.log(X)) / np.mean(X**-2.0)  # the balance: slopes in their own size, times the values' spread
HOLES = np.array([0, 1, 0, 0, 1, 0, 0], bool)


def _gradient(objective):
    loss, mae, gradients = objective.gradient()
    return float(loss), float(mae), [np.asarray(gradient) for gradient in gradients]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Value(), lambda values, slopes, pins: values),
        (Sobolev(balanced=False), lambda values, slopes, pins: values + slopes),
        (
            Sobolev(value_weight=2.0, derivative_weight=0.5, balanced=False),
            lambda values, slopes, pins: 2 * values + slopes / 2,
        ),
        (Sobolev(), lambda values, slopes, pins: (values + slopes * RELATIVE) / 2),
        (
            Sobolev(value_weight=2.0, derivative_weight=0.5),
            lambda values, slopes, pins: 2 * values + slopes * RELATIVE / 2,
        ),
        (Derivative(PINS, balanced=False), lambda values, slopes, pins: pins + slopes),
        (Derivative(PINS), lambda values, slopes, pins: pins + slopes * RELATIVE),
    ],
    ids=["value", "plain", "plain weighted", "sobolev", "weighted", "plain derivative", "derivative"],
)
def test_loss_of_a_straight_line(objective, line, loss, expected):
    """For f = 3x - 1 every loss is the closed form; the metric is over all known values, pins included."""
    values = np.mean((3 * X - 1 - np.log(X)) ** 2)
    slopes = np.mean((3 - 1 / X) ** 2)
    pins = np.mean((3 * PINS.x["x"] - 1 - PINS.y["f"]) ** 2)
    known = [LOG] if loss.pins is None else [LOG, PINS]
    errors = np.concatenate([np.abs(3 * part.x["x"] - 1 - part.y["f"]) for part in known])
    found, mae, _ = _gradient(objective(line(3.0, -1.0), LOG, loss))
    np.testing.assert_allclose(found, expected(values, slopes, pins), rtol=1e-13)
    np.testing.assert_allclose(mae, errors.mean(), rtol=1e-13)


@pytest.mark.parametrize(
    "loss", [Value(), Sobolev(derivative_weight=0.3), Derivative(PINS)], ids=lambda loss: loss.name
)
def test_gradient_by_the_weights_agrees_with_central_differences(objective, small, loss):
    """The gradient through the tape in the loss is the slope of the loss along a random direction."""
    model = small()
    problem = objective(model, LOG, loss)
    start = [np.array(weight) for weight in model.weights]
    generator = np.random.default_rng(2)
    direction = [generator.normal(size=weight.shape) for weight in start]
    _, _, gradients = _gradient(problem)
    slope = sum(float(np.sum(g * d)) for g, d in zip(gradients, direction, strict=True))
    h, losses = 1e-5, []
    for sign in (1, -1):
        problem.restore([weight + sign * h * d for weight, d in zip(start, direction, strict=True)])
        losses.append(float(problem.loss_and_mae()[0]))
    np.testing.assert_allclose(slope, (losses[0] - losses[1]) / (2 * h), rtol=1e-8)


@pytest.mark.parametrize("loss", [Value(), Sobolev()], ids=lambda loss: loss.name)
def test_a_missing_row_counts_as_no_row(objective, small, loss):
    """Rows whose labels are all NaN give the same loss, metric and gradient as leaving them out."""
    holed = Samples(X, np.where(HOLES, np.nan, np.log(X)), np.where(HOLES, np.nan, 1 / X))
    dropped = Samples(X[~HOLES], np.log(X[~HOLES]), 1 / X[~HOLES])
    with_holes, without = (_gradient(objective(small(), samples, loss)) for samples in (holed, dropped))
    np.testing.assert_allclose(with_holes[:2], without[:2], rtol=1e-14)
    for one, other in zip(with_holes[2], without[2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_missing_labels_of_one_kind_leave_the_other(objective, line):
    """Values and derivatives may miss in different rows: each mean is over what is there."""
    samples = Samples(X, np.where(HOLES, np.nan, np.log(X)), np.where(HOLES, 1 / X, np.nan))
    loss, _, _ = _gradient(objective(line(3.0, -1.0), samples, Sobolev(balanced=False)))
    values = np.mean((3 * X - 1 - np.log(X))[~HOLES] ** 2)
    np.testing.assert_allclose(loss, values + np.mean((3 - 1 / X)[HOLES] ** 2), rtol=1e-13)


def test_means_go_over_every_number_of_every_output(objective, pair_samples):
    """With several inputs and outputs, the loss is the mean over all labels of a kind together."""
    model = with_dtype(mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(3,)), "float64")
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))  # f = 0 and df = 0: the loss is the mean square of the labels
    loss, mae, _ = _gradient(objective(model, pair_samples, Sobolev(balanced=False)))
    values = np.concatenate([column.ravel() for column in pair_samples.y.values()])
    slopes = np.concatenate([column.ravel() for by in pair_samples.dydx.values() for column in by.values()])
    np.testing.assert_allclose(loss, np.mean(values**2) + np.mean(slopes**2), rtol=1e-13)
    np.testing.assert_allclose(mae, np.mean(np.abs(values)), rtol=1e-13)


NO_VALUES = Samples(X, np.full(7, np.nan), 1 / X)
NO_SLOPES = Samples(X, np.log(X), np.full(7, np.nan))
REFUSED = {
    "value": (Value(), NO_VALUES, r"the samples hold no value .*, the loss 'value' needs some"),
    "sobolev": (Sobolev(), NO_VALUES, r"the samples hold no value"),
    "slopes": (
        Sobolev(),
        NO_SLOPES,
        r"the samples hold no derivative, the loss 'sobolev' needs some: .* Value\(\)",
    ),
    "derivative": (Derivative(PINS), Samples(X, X), r"the samples hold no derivative"),
    "pins' names": (
        Derivative(Samples({"z": [1.0]}, [0.0])),
        LOG,
        r"the pins have x \{'z'.*the samples \{'x'",
    ),
    "pins' shape": (
        Derivative(Samples([1.0], [[0.0, 0.0]])),
        LOG,
        r"the pins have y .*give pins the samples' columns",
    ),
}


@pytest.mark.parametrize(("loss", "samples", "message"), REFUSED.values(), ids=REFUSED)
def test_samples_without_the_needed_labels_are_refused(objective, line, loss, samples, message):
    """A loss says which labels it misses."""
    with pytest.raises(DataError, match=message):
        objective(line(1.0, 0.0), samples, loss)


def test_a_derivative_loss_takes_samples_without_values(objective, line):
    """The derivative loss fits values at its pins alone, so the samples' values may all be missing."""
    loss, mae, _ = _gradient(objective(line(3.0, -1.0), NO_VALUES, Derivative(PINS, balanced=False)))
    pins = 3 * PINS.x["x"] - 1 - PINS.y["f"]
    np.testing.assert_allclose(loss, np.mean((3 - 1 / X) ** 2) + np.mean(pins**2), rtol=1e-13)
    np.testing.assert_allclose(mae, np.mean(np.abs(pins)), rtol=1e-13)


def test_pins_without_values_are_refused():
    """Pins whose values are NaN fix nothing."""
    with pytest.raises(DataError, match="the pins hold no value"):
        Derivative(Samples([1.0], [np.nan]))


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["value_weight", "derivative_weight", "huber", "relative"])
def test_weights_are_finite_and_above_zero(name, weight):
    """A weight of zero would be another loss, which has a name of its own."""
    with pytest.raises(UsageError, match=f"{name} is .*expected a finite number above 0"):
        Sobolev(**{name: weight})


def test_the_registry_has_every_loss_by_name():
    """The default comes first; settings and pins go to the losses that take them, and nowhere else."""
    assert losses.names() == ["sobolev", "value", "derivative"]
    assert [losses.get(name, pins=PINS).name for name in losses.names()] == losses.names()
    assert losses.get("derivative", pins=PINS).pins is PINS
    assert losses.get("value", pins=PINS).pins is None
    assert losses.get("sobolev", value_weight=3.0, derivative_weight=None).weights(1, 1) == (3.0, 0.5)
    for arguments, message in (
        ({"name": "huber"}, "loss 'huber', expected one of sobolev, value, derivative"),
        ({"name": "value", "value_weight": 2.0}, "loss 'value' has no setting 'value_weight', it has "),
        ({"name": "derivative"}, "loss 'derivative' needs pins"),
    ):
        with pytest.raises(UsageError, match=message):
            losses.get(**arguments)


@pytest.mark.parametrize(
    "loss",
    [
        Value(),
        Sobolev(),
        Sobolev(value_weight=2.0, balanced=False),
        Derivative(PINS, balanced=False),
        Value(huber=0.5),
        Sobolev(huber=0.5, relative=0.1),
        Derivative(PINS, relative=0.1),
    ],
    ids=["value", "sobolev", "plain weighted", "derivative", "huber", "both penalties", "relative derivatives"],
)
def test_a_loss_is_restored_from_its_settings(loss):
    """What a record holds gives the same loss again."""
    again = losses.from_settings(loss.settings(), loss.pins)
    assert (type(again), again.settings(), again.pins) == (type(loss), loss.settings(), loss.pins)


def test_the_default_fits_every_label():
    """Values alone where no derivative is known."""
    assert (losses.default_for(LOG), losses.default_for(NO_SLOPES)) == ("sobolev", "value")


def test_penalties_are_their_closed_forms(objective, line):
    """Huber's loss and relative errors; the residuals' squares sum to them, and missing labels count nothing."""
    errors = 3 * X - 1 - np.log(X)
    expected = np.mean(np.where(np.abs(errors) <= 0.5, errors**2, np.abs(errors) - 0.25))
    target = objective(line(3.0, -1.0), LOG, Value(huber=0.5))
    assert float(target.loss_and_mae()[0]) == pytest.approx(expected, rel=1e-13)
    residuals = target.residuals()[0].numpy()
    assert residuals @ residuals == pytest.approx(expected, rel=1e-13)
    holed = objective(line(3.0, -1.0), Samples(X, np.where(HOLES, np.nan, X + 1)), Value(relative=1e-3))
    relative = ((2 * X - 2) / (X + 1))[~HOLES]
    assert float(holed.loss_and_mae()[0]) == pytest.approx(np.mean(relative**2), rel=1e-12)
    both = objective(line(3.0, -1.0), LOG, Sobolev(balanced=False, relative=1e-3, huber=0.5))
    parts = ((3 * X - 1 - np.log(X)) / np.maximum(np.abs(np.log(X)), 1e-3), (3 - 1 / X) * X)
    expected = sum(np.mean(np.where(np.abs(e) <= 0.5, e**2, np.abs(e) - 0.25)) for e in parts)
    assert float(both.loss_and_mae()[0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_outliers_draw_a_huber_loss_less(small):
    """One of seven labels is off by five spreads: the fit stays a third as far from the truth as without it."""
    wrong = np.log(X).copy()
    wrong[::10] += 5 * np.log(X).std()
    errors = [
        np.abs(
            np.asarray(
                fit(small(), Samples(X, wrong), loss=loss, optimizer="lbfgs", steps=200).model(X[:, None])
            ).ravel()
            - np.log(X)
        )
        for loss in (Value(huber=0.05), Value())
    ]
    assert np.median(errors[0]) < np.median(errors[1]) / 3


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs"])
def test_every_optimiser_follows_the_penalty(objective, small, optimizer):
    """The Jacobian is that of the loss's own residuals, so that Levenberg-Marquardt makes the same sum small."""
    target = objective(small(), LOG, Value(huber=0.5))
    residuals = residuals_of(target)
    assert isinstance(residuals, Taped)
    point = np.concatenate([np.array(variable).ravel() for variable in target.trainable])
    ((errors, jacobian),) = residuals.blocks(point)
    direction = np.random.default_rng(4).normal(size=point.shape)
    ahead, behind = (residuals.at(point + sign * 1e-6 * direction)[0] for sign in (1, -1))
    np.testing.assert_allclose(jacobian @ direction, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-7)
    result = fit(small(), LOG, loss=Value(huber=0.5), optimizer=optimizer, steps=60)
    assert result.loss < 1e-3 < errors @ errors
