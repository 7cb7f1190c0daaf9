"""Gradient descent in the compiled loop against Keras's own ``model.fit``."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire_training import Value, fit

EPOCHS = 200


def _by_keras(model, samples):
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", metrics=["mae"])
    x, y = samples.x["x"].astype("float32"), samples.y["f"].astype("float32")
    return model.fit(x, y, epochs=EPOCHS, verbose=0).history


def _regularised(log):
    model = log.network(seed=0)
    layers = [
        keras.layers.Dense(20, "sigmoid", kernel_regularizer=keras.regularizers.L2(1e-3)),
        *model.layers[1:],
    ]
    return keras.Sequential([keras.Input((1,)), *layers])


@pytest.mark.slow
@pytest.mark.parametrize("build", [lambda log: log.network(seed=0), _regularised], ids=["post", "regularised"])
def test_sgd_follows_model_fit(log, build):
    """From the same weights, 200 epochs give the same losses to 1e-5, and the same metric and weights."""
    model, samples = build(log), log.samples(19)
    ours = fit(model, samples, loss=Value(), optimizer="sgd", steps=EPOCHS)
    theirs = _by_keras(model, samples)
    np.testing.assert_allclose(ours.history["loss"], theirs["loss"], rtol=1e-5)
    np.testing.assert_allclose(ours.history["mae"], theirs["mae"], rtol=1e-4)
    for one, other in zip(ours.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
