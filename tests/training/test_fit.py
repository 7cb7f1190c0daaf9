"""Fits: what they reach, how they end, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError, DataError, UsageError
from gradwire_training import Samples, Sobolev, Value, draw, fit, mlp, optimizers


@pytest.mark.slow
def test_the_logarithm_is_learned_with_its_derivative(log):
    """With the defaults, every |f - log x| is at most 5e-4 and every |df/dx - 1/x| at most 2e-2."""
    result = fit(log.network(seed=0), log.samples(19, spacing="linear"))
    assert result.status == "completed"
    assert result.errors["f"]["max"] <= 5e-4 / 4  # margin: five seeds ended between 1e-5 and 4e-5
    assert result.errors["df_dx"]["max"] <= 2e-2 / 4
    assert (result.errors["points"], result.errors["against"]) == (1000, "log x on 1000 points of [0.1, 1.9]")
    assert result.model.dtype == "float32"
    x = np.linspace(0.1, 1.9, 1000, dtype=np.float32)[:, None]
    worst = np.abs(result.model.predict(x, verbose=0) - np.log(x)).max()
    assert worst == pytest.approx(result.errors["f"]["max"], abs=2e-6)  # some roundings of values near 2


def test_history_has_every_step(quick):
    """Steps count from 1, each names its optimiser, and the loss falls."""
    history = quick.history
    assert list(history) == ["step", "loss", "mae", "optimizer"]
    np.testing.assert_array_equal(history["step"], np.arange(1, quick.steps + 1))
    assert {len(column) for column in history.values()} == {quick.steps}
    assert quick.steps == 70
    assert list(dict.fromkeys(history["optimizer"].tolist())) == ["lm"]
    assert np.all(np.diff(history["loss"]) <= 0)
    assert quick.loss == pytest.approx(history["loss"][-1])
    assert quick.xla


@pytest.mark.slow
def test_the_given_model_is_left_as_it_was(log):
    """A fit trains a copy."""
    model = log.network(seed=1)
    before = model.get_weights()
    result = fit(model, log.samples(), optimizer="sgd", steps=3)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(result.model.get_weights()[0] - before[0]).max() > 0


def test_several_inputs_and_outputs_are_fitted(pair_samples):
    """A model with two inputs and two outputs learns values and derivatives of all of them."""
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(16,), activation="tanh")
    result = fit(model, pair_samples, steps=700, dtype="float64")
    assert set(result.errors) == {
        *("price", "pair", "dprice_da", "dprice_db", "dpair_da", "dpair_db"),
        "points",
        "against",
        "second_derivatives",
    }  # fmt: skip - names together
    assert result.errors["against"].startswith("the 12 samples that it was fitted to")
    tensors = [entry for entry in result.errors.values() if isinstance(entry, dict)]
    assert max(entry["max"] for entry in tensors) < 0.05
    assert result.model.dtype == "float64"


def test_missing_labels_do_not_reach_the_errors():
    """Errors on the samples themselves are over the labels that are there."""
    x = np.linspace(-1, 1, 5)
    samples = Samples(x, [np.nan, *x[1:]], np.full(5, np.nan))
    result = fit(mlp(inputs={"x": 1}, outputs={"f": 1}), samples, loss=Value(), optimizer="sgd", steps=2)
    assert np.isfinite(result.errors["f"]["max"])
    assert result.errors["df_dx"] == {
        "max": None,
        "rmse": None,
        "training_rmse": None,
        "labels": "never labelled",
    }  # fmt: skip - one entry


@pytest.mark.slow
def test_a_callback_sees_progress_and_stops_the_fit(log):
    """Callbacks get rising steps of the total; True ends the fit with the best weights that were seen."""
    seen = []

    def callback(progress):
        seen.append(progress)
        return progress.step >= 100

    result = fit(log.network(), log.samples(), optimizer="adam", steps=5000, callbacks=[callback])
    steps = [progress.step for progress in seen]
    assert steps == sorted(set(steps))
    assert {(progress.steps, progress.optimizer) for progress in seen} == {(5000, "adam")}
    assert all(progress.seconds > 0 and progress.loss > 0 and progress.mae > 0 for progress in seen)
    assert result.status == "stopped"
    assert result.steps == steps[-1] < 5000
    assert result.message.startswith(f"stopped by a callback after {result.steps:,} of 5,000 steps; kept the best")


@pytest.mark.slow
def test_lbfgs_can_be_stopped_too(log):
    """SciPy's optimiser hears callbacks as the others do."""
    result = fit(log.network(), log.samples(), optimizer="lbfgs", steps=5000, callbacks=[lambda progress: True])
    assert result.status == "stopped"
    assert 0 < result.steps < 5000


def _ctrl_c(step):
    def callback(progress):
        if progress.step >= step:
            raise KeyboardInterrupt

    return callback


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "auto"])
def test_ctrl_c_keeps_the_work(log, optimizer):
    """An interrupted fit returns, says so, and has weights that are no worse than the initial ones."""
    samples = log.samples()
    interrupt = [_ctrl_c(40)]
    result = fit(
        log.network(),
        samples,
        loss=Sobolev(balanced=False),
        optimizer=optimizer,
        steps=3000,
        dtype="float64",
        callbacks=interrupt,
    )
    assert result.status == "interrupted"
    assert result.message.startswith(f"interrupted after {result.steps:,} of 3,000 steps; kept the best weights")
    assert result.loss <= result.history["loss"][0]
    x, y, derivative = samples.x["x"], samples.y["f"], samples.dydx["f"]["x"]
    column = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(column)
        value = result.model(column)
    loss = np.mean((value - y) ** 2) + np.mean((tape.gradient(value, column) - derivative) ** 2)
    assert loss == pytest.approx(result.loss, rel=1e-6)


def test_an_interrupted_fit_has_the_best_weights_not_the_last(log):
    """When steps make it worse, the weights from before them are kept."""
    growing = optimizers.Sgd(learning_rate=0.9)
    result = fit(log.network(), log.samples(), loss=Sobolev(), optimizer=growing, steps=500, callbacks=[_ctrl_c(1)])
    assert result.status == "interrupted"
    assert result.loss <= result.history["loss"].min()
    assert result.loss < result.history["loss"][-1]


@dataclass(frozen=True)
class _Interrupted(optimizers.Optimizer):
    """Ctrl-C comes while the first step is still being compiled."""

    name = "interrupted"
    steps = 10

    def minimize(self, objective, monitor, *, steps):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_ctrl_c_before_the_first_step_gives_the_model_as_it_was(log, tmp_path):
    """There is a result even then: it can be saved and drawn, and its history is empty."""
    model = log.network()
    result = fit(model, log.samples(), optimizer=_Interrupted())
    assert (result.status, result.steps) == ("interrupted", 0)
    for one, other in zip(result.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {name: len(column) for name, column in result.history.items()} == dict.fromkeys(result.history, 0)
    assert (result.save(tmp_path / "log") / "history.csv").read_text().split() == ["step,loss,mae,optimizer"]
    assert len(draw(result, to=tmp_path)) == 4


def test_a_diverging_fit_says_so_and_keeps_the_best_weights(log):
    """When the loss stops being finite the fit ends, with weights that work."""
    line = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    result = fit(line, log.samples(), optimizer=optimizers.Sgd(learning_rate=50.0), steps=1000)
    assert result.status == "diverged"
    assert "the loss is not finite any more; kept the best weights seen" in result.message
    assert result.loss == pytest.approx(result.history["loss"][0])
    assert np.isfinite(result.errors["f"]["max"])


def test_a_model_that_never_was_finite_says_so(log):
    """Not even the initial loss is finite: there is nothing to keep."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.Rescaling(float("inf"))])
    result = fit(model, log.samples(), loss=Value(), optimizer="sgd", steps=5)
    assert result.status == "diverged"
    assert "not even the initial weights give a finite loss" in result.message
    assert (result.errors["f"]["max"], result.errors["f"]["rmse"]) == (None, None)


@keras.saving.register_keras_serializable(package="tests")
class Uncompilable(keras.layers.Layer):
    """An operation that XLA does not have."""

    def call(self, x):
        length = tf.strings.length(tf.strings.as_string(x))
        return x + tf.cast(tf.minimum(length, 0), x.dtype)  # zero, as no compiler knows


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_a_model_that_xla_cannot_compile_is_fitted_without(log, optimizer):
    """The same steps run as a plain graph, and the result says so."""
    plain = log.network(seed=2)
    with_op = keras.Sequential([keras.Input((1,)), Uncompilable(), *log.network(seed=2).layers])
    compiled, fallen = (fit(m, log.samples(), optimizer=optimizer, steps=20) for m in (plain, with_op))
    assert (compiled.xla, fallen.xla) == (True, False)
    np.testing.assert_allclose(fallen.history["loss"], compiled.history["loss"], rtol=1e-4)


@pytest.mark.slow
def test_random_layers_follow_the_seed(log):
    """Dropout draws the same numbers for one seed and others for another."""
    layers = log.network(seed=0).layers
    model = keras.Sequential([keras.Input((1,)), layers[0], keras.layers.Dropout(0.5), *layers[1:]])
    first, again, other = (
        fit(model, log.samples(), loss=Value(), optimizer="sgd", steps=6, seed=seed).history["loss"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


REFUSED = {
    "optimizer": ({"optimizer": "newton"}, rf"optimizer 'newton', expected one of {', '.join(optimizers.names())}"),
    "optimizer kind": (
        {"optimizer": 3},
        r"optimizer is 3, expected a name or an instance of optimizers.Optimizer",
    ),
    "loss kind": ({"loss": "sobolev"}, r"loss is 'sobolev', expected an instance of .*Loss"),
    "steps": ({"steps": 0}, r"0 steps, expected 1 or more"),
    "seed": ({"seed": -1}, r"seed -1, expected 0 or more"),
    "dtype": ({"dtype": "float16"}, r"dtype 'float16', expected one of float32, float64"),
    "model": ({"model": "log.keras"}, r"model is 'log.keras', expected a Keras model"),
    "samples": ({"samples": [1.0]}, r"samples is \[1.0\], expected an instance of .*Samples"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_misuse_is_refused(log, change, message):
    """Every argument is checked, and the message says what was expected."""
    arguments = {"model": log.network(), "samples": log.samples(), **change}
    with pytest.raises(UsageError, match=message):
        fit(arguments.pop("model"), arguments.pop("samples"), **arguments)


def test_a_model_without_trainable_weights_is_refused(log):
    """Nothing could be moved."""
    model = log.network()
    model.trainable = False
    with pytest.raises(UsageError, match="has no trainable weight"):
        fit(model, log.samples())


def test_a_fit_of_values_needs_no_derivative(log):
    """A model through which no gradient flows is fitted to values, and measured by them alone."""
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1)(keras.ops.round(x)))
    values = fit(model, log.samples(), loss=Value(), optimizer="sgd", steps=2)
    assert values.errors["f"]["max"] > 0
    assert (values.errors["df_dx"]["max"], values.errors["df_dx"]["labels"]) == (None, "not fitted")
    with pytest.raises(ConversionError, match="have no derivative with respect to input 'x'"):
        fit(model, log.samples(), optimizer="sgd", steps=2)


def test_a_derivative_by_an_integer_is_refused():
    """Integer inputs are taken, but not differentiated."""
    tokens = keras.Input((1,), dtype="int32", name="x")
    model = keras.Model(tokens, keras.layers.Flatten()(keras.layers.Embedding(3, 1)(tokens)))
    x = np.array([0, 1, 2])
    values = fit(model, Samples(x, 1.0 * x, 1.0 * x), loss=Value(), optimizer="sgd", steps=2)
    assert values.status == "completed"
    assert (values.errors["df_dx"]["max"], values.errors["df_dx"]["labels"]) == (None, "not fitted")
    with pytest.raises(DataError, match=r"dydx\['f'\]\['x'\]: the model's 'x' is an integer"):
        fit(model, Samples(x, 1.0 * x, 1.0 * x))
