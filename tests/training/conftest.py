"""What the tests of training share: the logarithm, small models, and one saved fit."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from gradwire_training import Samples, fit, mlp, problems, with_dtype
from gradwire_training._fit.evaluation import compare
from gradwire_training._models.io_binding import IoBinding
from gradwire_training._objective.objective import Objective


@pytest.fixture(scope="session")
def log():
    """The built-in problem."""
    return problems.get("log")


@pytest.fixture(scope="session")
def quick(log):
    """A short fit with the defaults."""
    return fit(log.network(seed=3), log.samples(), steps=70, seed=3)


@pytest.fixture(scope="session")
def changed():
    """Changes fields of a result, and evaluates it again."""

    def change(result, **fields):
        result = replace(result, **fields)
        return replace(result, comparison=compare(result.model, result.binding, result.request))

    return change


@pytest.fixture
def objective():
    """Builds an objective in float64 of a model, samples and a loss."""

    def build(model, samples, loss):
        return Objective(model, IoBinding.of(model, samples), samples, loss, dtype="float64")

    return build


@pytest.fixture
def small():
    """Builds a float64 network of one input and output with a few tanh units."""

    def build(seed=0):
        model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,), activation="tanh", seed=seed)
        return with_dtype(model, "float64")

    return build


@pytest.fixture
def pair_samples():
    """Samples of price = a0 * a1 + b and pair = (a0^2, b * a1), with every derivative."""
    generator = np.random.default_rng(5)
    a, b = generator.uniform(-1, 1, (12, 2)), generator.uniform(-1, 1, (12, 1))
    zero, one = np.zeros(12), np.ones(12)
    return Samples(
        {"a": a, "b": b},
        {"price": a[:, :1] * a[:, 1:] + b, "pair": np.stack([a[:, 0] ** 2, b[:, 0] * a[:, 1]], axis=1)},
        {
            "price": {"a": a[:, ::-1], "b": one},
            "pair": {
                "a": np.stack([np.stack([2 * a[:, 0], zero], 1), np.stack([zero, b[:, 0]], 1)], 1),
                "b": np.stack([zero, a[:, 1]], 1)[:, :, None],
            },
        },
    )


@pytest.fixture
def line():
    """Builds f = weight * x + bias in float64."""

    def build(weight, bias):
        model = keras.Sequential([keras.Input((1,), dtype="float64"), keras.layers.Dense(1, dtype="float64", name="f")])
        model.set_weights([np.array([[weight]]), np.array([bias])])
        return model

    return build


@pytest.fixture(scope="module")
def without_bayes():
    """What else there is for auto to choose of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradwire_training.optimizers._auto.suits", lambda _: False)
        yield
