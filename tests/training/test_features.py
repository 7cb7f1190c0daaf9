"""What Keras keeps outside the weights' gradient: honoured in the numbers that are exported, or refused by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import UsageError
from gradwire_export import export
from gradwire_training import Samples, Sobolev, Value, fit, optimizers
from gradwire_training._fit.evaluation import evaluate
from gradwire_training._models import BatchStatistics, Feature, IoBinding
from gradwire_training._progress import checkpoint
from gradwire_training.optimizers._auto import _pick

X = np.linspace(-1, 1, 40)[:, None]
WAVE = Samples(X, 3 * np.sin(2 * X), 6 * np.cos(2 * X))
ADAM = optimizers.Adam(learning_rate=0.05)
STEPS = {"adam": 600, "sgd": 600, "lbfgs": 100, "lm": 60, "auto": 600}
layers, serializable = keras.layers, keras.saving.register_keras_serializable(package="features")


def _fit(model, samples, optimizer, **settings):
    chosen = ADAM if optimizer == "adam" else optimizer
    return fit(model, samples, optimizer=chosen, steps=STEPS[optimizer], dtype="float64", **settings)


def _network(*middle, width=8):
    keras.utils.set_random_seed(1)
    first = layers.Dense(width, "tanh", name="first")
    return keras.Sequential([keras.Input((1,)), first, *middle, layers.Dense(1, name="last")])


def _slope(**settings):
    """Return f = w x."""
    return keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False, **settings)])


@serializable
class SquaresAdded(keras.Layer):
    """Passes its inputs on, and adds the sum of their squares over a batch, in which no row stands for another."""

    def call(self, inputs):
        self.add_loss(0.01 * tf.reduce_sum(tf.square(inputs)))
        return inputs


@serializable
class TwiceInTraining(keras.Layer):
    """Computes one thing in training and another in inference."""

    def call(self, inputs, training=False):
        return 2 * inputs if training else inputs


@serializable
class NoisyAlways(keras.Layer):
    """Draws random numbers in inference too."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.generator = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return inputs + keras.random.normal(tf.shape(inputs), seed=self.generator, dtype=inputs.dtype)


@serializable
class OwnStep(keras.Model):
    """Trains itself by a step of its own."""

    def train_step(self, data):
        return super().train_step(data)


@serializable
class OwnLoss(keras.Model):
    """Has a loss of its own."""

    def compute_loss(self, *_, **__):
        return tf.constant(0.0)


# --- constraints -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs", "auto"])
@pytest.mark.parametrize("loss", [Value(), Sobolev()], ids=["value", "sobolev"])
def test_weights_that_may_not_be_negative_are_not(optimizer, loss):
    """From f = -9 x0 + 2 x1: the best weights without a sign are (0, 2), which is where the constrained fit ends."""
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    x[:, 1] -= x[:, 0] * (x[:, 0] @ x[:, 1]) / (x[:, 0] @ x[:, 0])  # so that one weight does not depend on the other
    samples = Samples(x, x @ [-9.0, 2.0], np.tile([-9.0, 2.0], (60, 1)))
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False, kernel_constraint="non_neg")])
    model.set_weights([np.array([[1.0], [1.0]])])
    result = _fit(model, samples, optimizer, loss=loss)
    (kernel,) = result.model.get_weights()
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel.ravel(), [0, 2], atol=1e-3 if optimizer in ("adam", "sgd") else 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "auto"])
def test_other_constraints_hold_too(optimizer):
    """The kernel of 5 x has a norm of 1.5 at most; auto says why it takes adam."""
    model = _slope(kernel_constraint=keras.constraints.MaxNorm(1.5), name="bounded")
    chosen = ADAM if optimizer == "adam" else optimizer
    result = fit(model, Samples(X, 5 * X), optimizer=chosen, steps=2_000, loss=Value())
    np.testing.assert_allclose(result.model.get_weights()[0], 1.5, rtol=1e-6)
    if optimizer == "auto":
        assert "constraints on weights: 'bounded/kernel'" in result.selection_reason
        assert set(result.history["optimizer"]) == {"adam"}


def test_a_constraint_holds_even_where_no_step_was_taken():
    """A fit that is stopped at once returns weights that the constraint allows."""
    model = _slope(kernel_constraint="non_neg")
    model.set_weights([np.array([[-4.0]])])
    result = fit(model, Samples(X, -X), loss=Value(), optimizer="lbfgs", steps=1, callbacks=[lambda _: True])
    assert result.model.get_weights()[0] >= 0


# --- losses beside the fit's -----------------------------------------------------------------------------------------

SIZE = float(np.mean(X**2))
ADDED = {
    "kernel": (lambda: [layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.1))], 0.1),
    "activity": (
        lambda: [layers.Dense(1, use_bias=False, activity_regularizer=keras.regularizers.L2(0.1))],
        0.1 * SIZE,
    ),
    "add_loss": (lambda: [layers.Dense(1, use_bias=False), SquaresAdded()], 0.01 * len(X) * SIZE),
}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs", "auto"])
@pytest.mark.parametrize(("build", "ridge"), ADDED.values(), ids=ADDED)
def test_losses_of_the_model_move_the_optimum_as_a_ridge_does(optimizer, build, ridge):
    """For f = w x with y = 3 x the minimum of mean (w x - y)^2 + r w^2 is w = 3 <x^2> / (<x^2> + r)."""
    result = _fit(keras.Sequential([keras.Input((1,)), *build()]), Samples(X, 3 * X), optimizer, loss=Value())
    w = 3 * SIZE / (SIZE + ridge)
    np.testing.assert_allclose(result.model.get_weights()[0], w, rtol=1e-4)
    assert result.loss == pytest.approx((w - 3) ** 2 * SIZE + ridge * w**2, rel=1e-6)


@pytest.mark.slow
def test_rows_that_are_repeated_for_derivatives_add_no_loss_again():
    """With two output elements and derivatives, rows are repeated inside the loss; what layers add is of the rows."""
    samples = Samples(X, np.hstack([3 * X, -2 * X]), np.tile([[3.0], [-2.0]], (len(X), 1, 1)))
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, use_bias=False), SquaresAdded()])
    loss = Sobolev(value_weight=1, derivative_weight=1, balanced=False)
    result = _fit(model, samples, "lbfgs", loss=loss)
    shrunk = (SIZE + 1) / 2 / ((SIZE + 1) / 2 + 0.01 * len(X) * SIZE)
    np.testing.assert_allclose(result.model.get_weights()[0], [[3 * shrunk, -2 * shrunk]], rtol=1e-6)


# --- statistics ------------------------------------------------------------------------------------------------------


def _normalised(**settings):
    return _network(
        layers.BatchNormalization(name="norm", **settings), layers.Dense(8, "tanh"), layers.BatchNormalization()
    )


def _loss_as_exported(result, samples, loss):
    """Compute a fit's loss from the result's model in inference form, by Keras alone."""
    values, derivatives = evaluate(result.model, IoBinding.of(result.model, samples), samples.x, {"f": ["x"]})
    squares = np.mean((values["f"] - samples.y["f"]) ** 2)
    if isinstance(loss, Value):
        return squares
    unit = np.mean(samples.dydx["f"]["x"] ** 2) / np.var(samples.y["f"])
    return squares / 2 + np.mean((derivatives["f"]["x"] - samples.dydx["f"]["x"]) ** 2) / unit / 2


FITS = {
    "adam": ("adam", Value(), 200, 2.0),
    "adam on derivatives": ("adam", Sobolev(), 200, 2.0),
    "lbfgs": ("lbfgs", Value(), 400, 0.02),
    "lbfgs on derivatives": ("lbfgs", Sobolev(), 400, 0.02),
    "lm on derivatives": ("lm", Sobolev(), 40, 0.02),
    "auto": ("auto", Value(), 40, 0.02),
}


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "loss", "steps", "allowed"), FITS.values(), ids=FITS)
def test_what_is_exported_with_batch_normalisation_is_what_was_fitted(optimizer, loss, steps, allowed):
    """The last loss of the fit is the loss of the exported function, and the loss of the result."""
    result = fit(_normalised(), WAVE, optimizer=optimizer, steps=steps, loss=loss, dtype="float64")
    exported = _loss_as_exported(result, WAVE, loss)
    assert result.loss == pytest.approx(exported, rel=1e-9)
    assert result.history["loss"][-1] == pytest.approx(exported, rel=0.1 if optimizer == "adam" else 1e-9)
    assert result.errors["f"]["max"] < allowed
    assert "the statistics of BatchNormalization 'norm'" in result.notes[0]


@pytest.mark.slow
def test_a_package_of_a_network_with_batch_normalisation_serves_what_was_fitted(tmp_path):
    """Values and derivatives of a float32 package, loaded in a fresh process, have the errors of the result."""
    result = fit(_normalised(), WAVE, optimizer="lbfgs", steps=400)
    export(result.save(tmp_path / "fit"), to=tmp_path / "models" / "fit")
    with gradwire.load(tmp_path / "models" / "fit") as model:
        value, slope = model.value_and_grad(X)
    assert np.abs(value - WAVE.y["f"]).max() == pytest.approx(result.errors["f"]["max"], rel=1e-2, abs=3e-6)
    assert np.abs(slope - WAVE.dydx["f"]["x"]).max() == pytest.approx(result.errors["df_dx"]["max"], rel=1e-2, abs=3e-5)
    assert result.errors["f"]["max"] < 0.02


@pytest.mark.slow
def test_short_fits_have_the_statistics_of_their_final_weights():
    """After 20 steps a moving average still begins at 0 and 1: it is replaced by the rows' mean and variance."""
    result = fit(_normalised(), WAVE, loss=Value(), optimizer="adam", steps=20, dtype="float64")
    first, norm = result.model.layers[:2]
    hidden = np.array(first(X))
    np.testing.assert_allclose(norm.moving_mean, hidden.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(norm.moving_variance, hidden.var(axis=0), rtol=1e-10)
    assert "at the final weights" in result.notes[0]


@pytest.mark.slow
def test_statistics_with_dropout_are_those_of_many_draws():
    """Beside dropout, one call would hold the accident of one draw."""
    model = _network(layers.Dropout(0.5, name="drop"), layers.BatchNormalization(name="norm"))
    result = _fit(model, WAVE, "auto")
    assert result.selection_reason.startswith("adam: the model 'sequential")
    assert "random numbers in training (dropout, noise, augmentation): 'drop'" in result.selection_reason
    hidden = np.array(result.model.layers[0](X))
    expected = np.mean(hidden**2 / 0.5, axis=0) - hidden.mean(axis=0) ** 2  # of a mask that doubles half of them
    assert result.model.get_layer("norm").moving_variance.shape == expected.shape
    assert result.loss == pytest.approx(_loss_as_exported(result, WAVE, Sobolev()), rel=1e-9)


@pytest.mark.slow
def test_renormalisation_is_taken_as_its_inference_form():
    """With ``renorm`` the stored statistics are exact too."""
    result = fit(_normalised(renorm=True), WAVE, loss=Value(), optimizer="lbfgs", steps=60, dtype="float64")
    assert result.loss == pytest.approx(_loss_as_exported(result, WAVE, Value()), rel=1e-9)
    assert result.history["loss"][-1] == pytest.approx(result.loss, rel=1e-9)


@pytest.mark.slow
def test_layers_in_wrappers_are_seen_too():
    """``TimeDistributed`` hides a layer from ``Model.layers``."""
    inner = layers.TimeDistributed(layers.BatchNormalization(name="inner"))
    model = _network(layers.Reshape((4, 2)), inner, layers.Flatten())
    result = fit(model, WAVE, loss=Value(), optimizer="lbfgs", steps=60, dtype="float64")
    assert "'inner'" in result.notes[0]
    assert result.history["loss"][-1] == pytest.approx(result.loss, rel=1e-9)
    assert result.loss == pytest.approx(_loss_as_exported(result, WAVE, Value()), rel=1e-9)


@pytest.mark.slow
def test_held_layers_are_released():
    """The model of a result trains in Keras as any other does."""
    result = fit(_normalised(), WAVE, optimizer="lbfgs", steps=3, dtype="float64")
    norm = result.model.get_layer("norm")
    assert "call" not in vars(norm)
    statistics = BatchStatistics(result.model)
    statistics.hold()
    assert "call" in vars(norm)
    statistics.release()
    assert "call" not in vars(norm)
    before = np.array(norm.moving_mean)
    result.model(X + 5, training=True)
    assert not np.array_equal(before, np.array(norm.moving_mean))


@pytest.mark.slow
def test_a_fit_that_resumes_keeps_the_statistics_that_it_held(tmp_path, monkeypatch):
    """They are those of where it began, which the checkpoint has: the end is the same, bit for bit."""
    model, file = _network(layers.BatchNormalization()), tmp_path / "fit.checkpoint"
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "LEAST_RATIO", 0)
    settings = {"loss": Value(), "optimizer": "lm", "steps": 30}
    whole = fit(model, WAVE, **settings)
    fit(model, WAVE, checkpoint=file, callbacks=[lambda progress: progress.step >= 12], **settings)
    assert file.exists()
    resumed = fit(model, WAVE, checkpoint=file, resume=True, **settings)
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# --- random numbers and other states ---------------------------------------------------------------------------------

STEP = (4, 2)
RANDOM = {
    "Dropout": lambda: [layers.Dropout(0.3, name="it")],
    "GaussianNoise": lambda: [layers.GaussianNoise(0.1, name="it")],
    "GaussianDropout": lambda: [layers.GaussianDropout(0.1, name="it")],
    "AlphaDropout": lambda: [layers.AlphaDropout(0.1, name="it")],
    "SpatialDropout1D": lambda: [layers.Reshape(STEP), layers.SpatialDropout1D(0.3, name="it"), layers.Flatten()],
    "recurrent dropout": lambda: [layers.Reshape(STEP), layers.GRU(3, recurrent_dropout=0.3, name="it")],
    "RandomFlip": lambda: [layers.Reshape((2, 4, 1)), layers.RandomFlip(name="it"), layers.Flatten()],
}


@pytest.mark.parametrize("build", RANDOM.values(), ids=RANDOM)
def test_layers_that_draw_random_numbers_are_named(objective, build):
    """Optimisers that need one function refuse them; auto takes adam and says why."""
    model = keras.models.clone_model(_network(*build()))
    with pytest.raises(UsageError, match=r"random numbers in training .*: '[a-z_]*(it|cell)', .* adam"):
        fit(model, WAVE, loss=Value(), optimizer="lbfgs", steps=2)
    problem = objective(keras.models.clone_model(model), WAVE, Value())
    assert problem.features.owners.keys() == {Feature.RANDOM}
    assert _pick(problem)[0] == "adam"


@pytest.mark.slow
def test_inert_layers_are_none():
    """A rate of zero draws nothing, so that every optimiser may fit it."""
    result = _fit(_network(layers.Dropout(0.0), layers.GaussianNoise(0.0)), WAVE, "lm")
    assert result.errors["f"]["max"] < 0.05


@pytest.mark.slow
def test_dropout_trains_with_adam_and_is_off_in_what_is_exported():
    """The loss of the result is that of inference; two seeds fit differently, one seed the same."""
    first, again, other = (
        fit(_network(layers.Dropout(0.2)), WAVE, loss=Value(), optimizer=ADAM, steps=50, seed=seed, dtype="float64")
        for seed in (1, 1, 2)
    )
    assert first.loss == again.loss != other.loss
    assert first.loss == pytest.approx(_loss_as_exported(first, WAVE, Value()), rel=1e-9)
    assert first.loss != first.history["loss"][-1]


INCONSTANT = {
    "noise": (lambda: _network(NoisyAlways(name="noisy")), "'noisy.*' draws random numbers or keeps a state"),
    "stateful": (
        lambda: keras.Sequential(
            [
                keras.Input(batch_shape=(8, 1)),
                layers.Reshape((1, 1)),
                layers.SimpleRNN(2, stateful=True, name="memory"),
                layers.Dense(1),
            ]
        ),
        "'memory' draws random numbers or keeps a state",
    ),
}


@pytest.mark.parametrize(("build", "message"), INCONSTANT.values(), ids=INCONSTANT)
@pytest.mark.parametrize("optimizer", ["adam", "auto"])
def test_a_response_that_is_no_function_is_refused(build, message, optimizer):
    """No package could serve it: the layer is named, whatever the optimiser."""
    with pytest.raises(UsageError, match=message):
        fit(build(), WAVE.take(np.arange(8)), optimizer=optimizer, steps=2)


@pytest.mark.slow
def test_other_states_are_left_to_adam(objective):
    """Spectral normalisation rewrites the kernel in every training call."""

    def build():
        return _network(layers.SpectralNormalization(layers.Dense(8, "tanh"), name="spectral"))

    for optimizer in ("lm", "lbfgs"):
        with pytest.raises(
            UsageError, match=r"variables that every call in training changes: .*use auto or adam or sgd"
        ):
            fit(build(), WAVE, optimizer=optimizer, steps=2)
    result = _fit(build(), WAVE, "auto")
    assert set(result.history["optimizer"]) == {"adam"}
    assert result.loss == pytest.approx(_loss_as_exported(result, WAVE, Sobolev()), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "auto"])
def test_a_layer_with_a_form_of_its_own_in_training_is_fitted_as_it_is_exported(optimizer):
    """With the training form, the exported function would be half of what was fitted."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1), TwiceInTraining()])
    result = _fit(model, Samples(X, 4 * X), optimizer, loss=Value())
    np.testing.assert_allclose(result.model.predict(X, verbose=0), 4 * X, atol=1e-6)


# --- frozen, shared, mixed, trained by itself ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lm"])
def test_frozen_weights_stay_as_they_are(optimizer):
    """To the bit, whatever the precision of the fit; a frozen BatchNormalization keeps its statistics."""
    model = _network(layers.BatchNormalization(name="norm"))
    for name in ("first", "norm"):
        model.get_layer(name).trainable = False
    model.get_layer("norm").set_weights([np.full(8, value, np.float32) for value in (1.1, 0.1, 0.3, 0.7)])
    result = fit(model, WAVE, loss=Value(), optimizer=optimizer, steps=20)
    for name in ("first", "norm"):
        for before, after in zip(
            model.get_layer(name).get_weights(), result.model.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(before, after)
    assert not np.array_equal(model.get_layer("last").get_weights()[0], result.model.get_layer("last").get_weights()[0])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lbfgs", "lm", "auto"])
def test_a_shared_layer_stays_one(optimizer):
    """From f = w a + w b with values of 2 a + 4 b on a = b: w = 3, by each way to a gradient."""
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    shared = layers.Dense(1, use_bias=False, name="shared")
    model = keras.Model([a, b], layers.Add()([shared(a), shared(b)]))
    result = _fit(model, Samples({"a": X, "b": X}, 6 * X), optimizer, loss=Value())
    assert len(result.model.weights) == 1
    np.testing.assert_allclose(result.model.get_layer("shared").get_weights()[0], 3, rtol=1e-8)


def test_layers_shared_between_models_are_refused():
    """Built from its configuration each model has a copy, and the two would part."""
    dense = layers.Dense(1, use_bias=False)
    x = keras.Input((1,))
    inner_x = keras.Input((1,))
    inner = keras.Model(inner_x, dense(inner_x))
    with pytest.raises(UsageError, match="has 1 weights, and 2 when it is built from its configuration"):
        fit(keras.Model(x, layers.Add()([dense(x), inner(x)])), Samples(X, X), loss=Value(), steps=2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_replaced_and_said(policy):
    """Weights and computations have the dtype that was asked for, in the fit and in what is exported."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, dtype=policy)])
    result = fit(model, Samples(X, 2 * X), loss=Value(), steps=30)
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    assert result.notes == (f"the model's precision {policy} is replaced: fitted and exported in float32",)
    assert result.errors["f"]["max"] < 1e-6


@pytest.mark.parametrize(("kind", "name"), [(OwnStep, "train_step"), (OwnLoss, "compute_loss")])
def test_models_that_train_themselves_are_refused(kind, name):
    """Their class says that weights are to move in another way."""
    x = keras.Input((1,))
    with pytest.raises(UsageError, match=rf"is a {kind.__name__} with {name} of its own"):
        fit(kind(x, layers.Dense(1)(x)), Samples(X, X), steps=2)


def test_low_rank_weights_are_refused():
    """``enable_lora`` adds weights in float32 whatever the layer's dtype."""
    model = _network()
    model.get_layer("first").enable_lora(2)
    with pytest.raises(UsageError, match="lora_kernel_a' stays float32 where float64 was requested"):
        fit(model, WAVE, steps=2)


def test_each_optimiser_says_what_it_honours():
    """The table of the documentation, and that a new optimiser honours nothing until it says so."""
    every = frozenset(Feature)
    honours = {name: optimizers.get(name).honours for name in optimizers.names()}
    assert honours == {
        "auto": every,
        "adam": every,
        "sgd": every,
        "lbfgs": {Feature.LOSSES, Feature.BOUNDS, Feature.STATISTICS, Feature.TRAINING, Feature.SIGNS},
        "lm": {Feature.STATISTICS, Feature.TRAINING},
        "bayes": {Feature.STATISTICS, Feature.TRAINING},
    }
    assert optimizers.Optimizer.honours == frozenset()
