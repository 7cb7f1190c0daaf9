"""Derivatives along directions as labels: against partial derivatives, a closed form, and differences."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import Derivative, Samples, Sobolev, Value, fit, mlp, optimizers, repeat, with_dtype

COUNT = 12


@pytest.fixture(scope="module")
def points():
    """Two inputs, a direction a row for each, and the derivatives of two outputs."""
    generator = np.random.default_rng(8)
    a, b = generator.uniform(-1, 1, (COUNT, 2)), generator.uniform(-1, 1, (COUNT, 1))
    v, w = generator.normal(size=(COUNT, 2)), generator.normal(size=(COUNT, 1))
    zero = np.zeros(COUNT)
    y = {"price": a[:, :1] * a[:, 1:] + b, "pair": np.stack([a[:, 0] ** 2, b[:, 0] * a[:, 1]], axis=1)}
    dydx = {
        "price": {"a": a[:, ::-1], "b": np.ones((COUNT, 1))},
        "pair": {
            "a": np.stack([np.stack([2 * a[:, 0], zero], 1), np.stack([zero, b[:, 0]], 1)], 1),
            "b": np.stack([zero, a[:, 1]], 1)[:, :, None],
        },
    }
    y_dot = {
        "price": (dydx["price"]["a"] * v).sum(axis=1, keepdims=True) + w,
        "pair": np.einsum("boi,bi->bo", dydx["pair"]["a"], v) + dydx["pair"]["b"][:, :, 0] * w,
    }
    return {"x": {"a": a, "b": b}, "y": y, "dydx": dydx, "x_dot": {"a": v, "b": w}, "y_dot": y_dot}


@pytest.fixture(scope="module")
def network():
    """A float64 network of those inputs and outputs."""
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(5,), activation="tanh", seed=4)
    return with_dtype(model, "float64")


def _plain(derivative_weight=1.0):
    return Sobolev(value_weight=1.0, derivative_weight=derivative_weight, balanced=False)


def _directional(points):
    return Samples(points["x"], points["y"], x_dot=points["x_dot"], y_dot=points["y_dot"])


def test_the_loss_is_the_mean_square_along_the_directions(points, network, objective):
    """Against differences of the model itself: (f(x + h v) - f(x - h v)) / 2h in each row."""
    step = 1e-5
    a, b, v, w = points["x"]["a"], points["x"]["b"], points["x_dot"]["a"], points["x_dot"]["b"]
    ahead, behind = (network({"a": a + sign * step * v, "b": b + sign * step * w}) for sign in (1, -1))
    errors = [
        (np.asarray(ahead[name]) - np.asarray(behind[name])) / (2 * step) - points["y_dot"][name]
        for name in ("price", "pair")
    ]
    expected = np.mean(np.concatenate([error.ravel() for error in errors]) ** 2)
    samples = _directional(points)
    both, value = (float(objective(network, samples, loss).loss_and_mae()[0]) for loss in (_plain(), Value()))
    assert both - value == pytest.approx(expected, rel=1e-8)


def test_the_gradient_is_that_of_the_loss(points, network, objective):
    """Against central differences by every weight, in a random direction of theirs."""
    target = objective(network, _directional(points), Sobolev())
    _, _, gradients = target.gradient()
    start, generator = target.snapshot(), np.random.default_rng(0)
    moves = [generator.normal(size=weight.shape) for weight in start]
    losses = []
    for sign in (1, -1):
        target.restore([weight + sign * 1e-6 * move for weight, move in zip(start, moves, strict=True)])
        losses.append(float(target.loss_and_mae()[0]))
    target.restore(start)
    along = sum(float(np.sum(g.numpy() * move)) for g, move in zip(gradients, moves, strict=True))
    assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(along, rel=1e-6)


def test_unit_directions_are_partial_derivatives(points, network, objective):
    """Rows that move along each input number in turn have the loss of the partial derivatives, another path."""
    eye = np.eye(3)
    numbers = np.concatenate([points["dydx"]["price"]["a"], points["dydx"]["price"]["b"]], axis=1)
    x = {name: np.repeat(column, 3, axis=0) for name, column in points["x"].items()}
    missing = {name: np.full((3 * COUNT, column.shape[1]), np.nan) for name, column in points["y"].items()}
    missing["price"][::3] = points["y"]["price"]
    along = Samples(
        x,
        missing,
        x_dot={"a": np.tile(eye[:, :2], (COUNT, 1)), "b": np.tile(eye[:, 2:], (COUNT, 1))},
        y_dot={"price": numbers.reshape(-1, 1)},
    )
    hidden = {"price": points["y"]["price"], "pair": np.full((COUNT, 2), np.nan)}
    partial = Samples(points["x"], hidden, {"price": points["dydx"]["price"]})
    one, other = (objective(network, samples, _plain(2.0)) for samples in (along, partial))
    assert float(one.loss_and_mae()[0]) == pytest.approx(float(other.loss_and_mae()[0]), rel=1e-12)
    for first, second in zip(one.gradient()[2], other.gradient()[2], strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)


def test_missing_directional_labels_count_nothing(points, network, objective):
    """A row without the derivative may have any direction, or none."""
    labels = {name: column.copy() for name, column in points["y_dot"].items()}
    directions = {name: column.copy() for name, column in points["x_dot"].items()}
    for column in labels.values():
        column[5:] = np.nan
    directions["a"][5:] = np.nan
    some = Samples(points["x"], points["y"], x_dot=directions, y_dot=labels)
    few = {name: column[:5] for name, column in points["x"].items()}
    nothing = {name: np.full_like(column[:5], np.nan) for name, column in points["y"].items()}
    pins = Samples({n: c[:1] for n, c in few.items()}, {n: c[:1] for n, c in points["y"].items()})
    alone = Samples(
        few,
        nothing,
        x_dot={n: c[:5] for n, c in directions.items()},
        y_dot={n: c[:5] for n, c in labels.items()},
    )
    losses = [
        float(objective(network, samples, Derivative(pins, balanced=False)).loss_and_mae()[0])
        for samples in (some, alone)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.slow
def test_directions_teach_the_whole_gradient(tmp_path):
    """One directional derivative a row, and one value, give a function of three inputs with its gradient."""
    generator = np.random.default_rng(2)
    x, v = generator.uniform(-1, 1, (80, 3)), generator.normal(size=(80, 3))
    y, slope = np.sin(x[:, 0]) + x[:, 1] * x[:, 2], np.stack([np.cos(x[:, 0]), x[:, 2], x[:, 1]], axis=1)
    values = np.where(np.arange(80) == 0, y, np.nan)
    samples = Samples({"x": x}, {"f": values}, x_dot={"x": v}, y_dot={"f": (slope * v).sum(axis=1)})
    truth = Samples({"x": x}, {"f": y}, {"f": {"x": slope}}, x_dot={"x": v}, y_dot=samples.y_dot)
    model = mlp(inputs={"x": 3}, outputs={"f": 1}, widths=(8,), activation="tanh", scale=samples)
    quick = optimizers.Lbfgs()
    result = fit(model, samples, loss=Sobolev(), optimizer=quick, steps=400, validation=truth)
    errors = {name: result.errors[name]["rmse"] for name in ("f", "df_dx", "f_dot")}
    assert errors["f"] < 0.02
    assert errors["df_dx"] < 0.05
    assert errors["f_dot"] < 0.05
    result.save(tmp_path / "fit")
    again = repeat(tmp_path / "fit")
    assert (again.loss, again.errors) == (result.loss, result.errors)
