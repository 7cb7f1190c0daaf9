"""Error bars: the Laplace approximation, its calibration on held-out rows, and the network that serves it."""

from __future__ import annotations

import json
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire_export import row_derivatives
from gradwire_training import (
    Samples,
    Sobolev,
    Value,
    fit,
    hold_out,
    mlp,
    networks,
    optimizers,
    problems,
    with_dtype,
    with_noise,
)
from gradwire_training._fit import evaluate
from gradwire_training._fit.evaluation import EvaluationSet
from gradwire_training._fit.request import Request
from gradwire_training._fit.uncertainty import _labelled, uncertainty_of
from gradwire_training._jacobian import predict, read_graph
from gradwire_training._models import IoBinding, array_of
from gradwire_training._uncertainty import LabelledRows, NoUncertainty, Uncertainty, estimate
from gradwire_training._uncertainty.calibration import _widening, calibrate
from gradwire_training._uncertainty.laplace import Spectrum
from gradwire_training._uncertainty.misfit import Misfit
from gradwire_training._uncertainty.network import Swept, Taped, network_of
from gradwire_training._uncertainty.noise import noise_profile
from gradwire_training._uncertainty.std_network import StdNetwork

ZERO = np.zeros(1)


def _weights(model):
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])


def _rows(samples):
    return LabelledRows(samples.x, samples.y, samples.dydx, samples.row_weights)


def _network(kind, width=4, *, samples=None):
    """A small model of two inputs, x of two elements and t of one, with layers of a kind other than dense."""
    x, t = keras.Input((2,), name="x"), keras.Input((1,), name="t")
    h = keras.layers.Concatenate()([x, t])
    if kind == "residual":
        h = keras.layers.Dense(width)(h)
        inner = keras.layers.Dense(width, "tanh")(keras.layers.LayerNormalization()(h))
        h = keras.layers.Add()([h, inner])
    elif kind == "gated":
        h = keras.layers.Multiply()([keras.layers.Dense(width, "tanh")(h), keras.layers.Dense(width, "sigmoid")(h)])
    elif kind == "recurrent":  # whose loop TensorFlow does not vectorise
        h = keras.layers.GRU(width)(keras.layers.Reshape((3, 1))(h))
    return keras.Model({"x": x, "t": t}, {"f": keras.layers.Dense(1)(h), "g": keras.layers.Dense(2)(h)})


def _noisy(noise, *, seed=0, count=80):
    """Rows of sin 3x with noise, apart those that are held out."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, (count, 1))
    y = np.sin(3 * x) + noise * generator.standard_normal(x.shape)
    return hold_out(Samples(x, y), share=0.4, seed=seed)


def _bars(fitted, held_out, **changes):
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,), activation="tanh", scale=fitted)
    result = fit(model, fitted, loss=Value(), validation=held_out, optimizer=optimizers.Lm(), steps=150, **changes)
    bars = uncertainty_of(result.model, result.binding, result.request)
    assert isinstance(bars, Uncertainty)
    return result, bars


@pytest.fixture(scope="module")
def noisy():
    """A fit to noisy values, and its bars."""
    return _bars(*_noisy(0.1))


def test_the_jacobian_is_that_of_differences(pair_samples):
    """Of values and derivatives with respect to every weight, several inputs and outputs together."""
    model = with_dtype(
        mlp(
            inputs={"a": 2, "b": 1},
            outputs={"price": 1, "pair": 2},
            widths=(3,),
            activation="tanh",
            scale=pair_samples,
        ),
        "float64",
    )
    graph, point = read_graph(model, model.trainable_variables), _weights(model)
    x = {name: column[:4] for name, column in pair_samples.x.items()}
    made = predict(graph, point, x)
    values = model({name: column.astype(np.float64) for name, column in x.items()})
    np.testing.assert_allclose(made.values, np.concatenate([values["price"], values["pair"]], axis=1), rtol=1e-12)
    step = 1e-6
    for index in range(len(point)):
        up, down = (predict(graph, point + sign * step * np.eye(len(point))[index], x) for sign in (1, -1))
        np.testing.assert_allclose(
            made.jacobian.values[..., index], (up.values - down.values) / (2 * step), rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(
            made.jacobian.derivatives[..., index],
            (up.derivatives - down.derivatives) / (2 * step),
            rtol=1e-5,
            atol=1e-7,
        )


@pytest.mark.slow
def test_the_tape_returns_what_the_sweep_does(pair_samples):
    """Predictions and Jacobian of one network by both, to rounding: 800 weights of which 600 vary, several blocks."""
    model = with_dtype(
        mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(24, 24), activation="tanh"), "float64"
    )
    x = {name: np.resize(column, (30, column.shape[1])) for name, column in pair_samples.x.items()}
    swept = Swept(read_graph(model, model.trainable_variables), _weights(model))
    taped = Taped(model, IoBinding.of(model, pair_samples))
    np.testing.assert_array_equal(taped.weights, swept.weights)
    for theirs, ours in zip(swept.gradients(x), taped.gradients(x), strict=True):
        assert theirs[0] == ours[0] == slice(0, 30)
        assert ours[2].shape == (30, 3, 4, 600)
        for expected, made in zip(theirs[1:], ours[1:], strict=True):
            np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "gated", "recurrent"])
def test_the_tape_returns_what_differences_do(kind):
    """Of models with layer normalisation, a product of layers, a loop: every trained weight, and no frozen one."""
    keras.utils.set_random_seed(1)
    model = with_dtype(_network(kind), "float64")
    model.layers[-1].trainable = False
    generator = np.random.default_rng(1)
    x = {name: generator.uniform(-1, 1, (3, width)) for name, width in (("x", 2), ("t", 1))}
    binding = IoBinding.of(model, Samples(x, {"f": np.zeros(3), "g": np.zeros((3, 2))}))
    network = network_of(model, binding)
    assert isinstance(network, Taped)

    @tf.function(autograph=False)
    def compiled():
        call = partial(binding.call, model, training=False)
        rows = {name: tf.constant(column) for name, column in x.items()}
        return row_derivatives(call, rows, dict.fromkeys(("f", "g"), ("x", "t")), {"f": (1,), "g": (2,)})

    def predictions():
        values, derivatives = compiled()
        arrays = {output: {name: np.asarray(part) for name, part in by.items()} for output, by in derivatives.items()}
        return LabelledRows(x, {name: np.asarray(value) for name, value in values.items()}, arrays).labels()

    ((_, predicted, jacobian),) = network.gradients(x)
    np.testing.assert_allclose(predicted, predictions(), rtol=1e-12, atol=1e-14)
    elements = [(variable, index) for variable in model.trainable_variables for index in np.ndindex(*variable.shape)]
    assert jacobian.shape == (3, 3, 4, len(elements))
    step = 1e-6
    for place, (variable, index) in enumerate(elements):
        before = array_of(variable)
        moved = []
        for sign in (1, -1):
            after = before.copy()
            after[index] += sign * step
            variable.assign(after)
            moved.append(predictions())
        variable.assign(before)
        np.testing.assert_allclose(
            jacobian[..., place], (moved[0] - moved[1]) / (2 * step), rtol=1e-6, atol=1e-8, err_msg=variable.path
        )


def test_variances_are_those_of_the_inverse():
    """The eigenvectors give g (J^T J + ridge)^-1 g^T for any ridge."""
    generator = np.random.default_rng(1)
    jacobian, gradients = generator.standard_normal((20, 6)), generator.standard_normal((3, 2, 6))
    spectrum = Spectrum.of(jacobian.T @ jacobian)
    for ridge in (1e-3, 10.0):
        inverse = np.linalg.inv(jacobian.T @ jacobian + ridge * np.eye(6))
        expected = np.einsum("abi,ij,abj->ab", gradients, inverse, gradients)
        np.testing.assert_allclose(spectrum.variances(spectrum.components(gradients), ridge), expected, rtol=1e-9)


def test_a_sandwich_is_the_textbooks():
    """Noise that differs from row to row, its labels in pairs: g A (sum of s s^T + ridge) A g^T for any ridge."""
    generator = np.random.default_rng(1)
    jacobian, gradients = generator.standard_normal((20, 6)), generator.standard_normal((3, 2, 6))
    scores = jacobian.reshape(10, 2, 6).sum(axis=1)
    spectrum = Spectrum.of(jacobian.T @ jacobian).with_scores(scores.T @ scores)
    for ridge in (1e-3, 10.0):
        inverse = np.linalg.inv(jacobian.T @ jacobian + ridge * np.eye(6))
        covariance = inverse @ (scores.T @ scores + ridge * np.eye(6)) @ inverse
        expected = np.einsum("abi,ij,abj->ab", gradients, covariance, gradients)
        np.testing.assert_allclose(spectrum.variances(spectrum.components(gradients), ridge), expected, rtol=1e-9)


def test_noise_that_grows_with_the_value_is_found():
    """A tenth of the value: its variance over its mean at other rows, to what 60 neighbours tell."""
    generator = np.random.default_rng(4)
    values, others = (generator.uniform(0, 3, (count, 1)) for count in (600, 50))
    errors = np.stack([0.1 * values * generator.standard_normal(values.shape), np.full_like(values, np.nan)], axis=2)
    profile = noise_profile(values, errors, others)
    expected = others[:, 0] ** 2 / np.mean(others**2)
    np.testing.assert_allclose(profile[:, 0, 0], expected, atol=0.5)
    assert np.corrcoef(profile[:, 0, 0], expected)[0, 1] > 0.9
    assert (profile[:, 0, 1] == 1).all()
    assert (noise_profile(values[:30], errors[:30], others) == 1).all()  # too few to tell


def test_bars_of_noise_that_grows_are_those_of_the_textbook():
    """A line whose noise grows along it: the sandwich of least squares, up to a factor; else its ends were alike."""
    generator = np.random.default_rng(6)
    x = generator.uniform(0, 1, (2_000, 1))
    noise = 0.02 + 2 * x**4
    fitted, held_out = hold_out(Samples(x, 5 * x + noise * generator.standard_normal(x.shape)), share=0.25)
    design = np.concatenate([fitted.x["x"], np.ones_like(fitted.x["x"])], axis=1)
    weights, *_ = np.linalg.lstsq(design, fitted.y["f"][:, 0], rcond=None)
    model = keras.Sequential([keras.Input((1,), dtype="float64"), keras.layers.Dense(1, dtype="float64")])
    model.set_weights([weights[:1, None], weights[1:]])
    network = Swept(read_graph(model, model.trainable_variables), _weights(model))
    spectrum, calibration = calibrate(network, _rows(fitted), _rows(held_out))
    at = np.array([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    ((_, _, gradients),) = network.gradients({"x": at[:, :1]})
    found = spectrum.variances(spectrum.components(gradients), calibration.ridge) * calibration.variance
    inverse = np.linalg.inv(design.T @ design)
    scored = design * (0.02 + 2 * fitted.x["x"] ** 4)
    expected = np.einsum("ai,ij,aj->a", at, inverse @ (scored.T @ scored) @ inverse, at)
    ratios = np.sqrt(found[:, 0, 0] / expected)
    assert 0.5 < ratios.min() < ratios.max() < 1.2 * ratios.min() < 2
    assert expected[2] > 4 * expected[0]


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
def test_a_line_has_the_bars_of_least_squares(is_weighted):
    """Of a model that is linear in its weights the bar is the textbook's, at points and for the slope.

    Of weighted rows, a third of which tell as much, it is that of weighted least squares with noise of one size.
    """
    generator = np.random.default_rng(2)
    noise, count = 0.3, 400
    x = generator.uniform(-1, 1, (count, 1))
    y = 2 * x + 1 + noise * generator.standard_normal(x.shape)
    counted = np.exp(generator.standard_normal(count)) if is_weighted else None
    fitted, held_out = hold_out(Samples(x, y, weights=counted), share=0.5)
    design = np.concatenate([fitted.x["x"], np.ones_like(fitted.x["x"])], axis=1)
    weighed = design if counted is None else design * fitted.row_weights[:, None]
    weights = np.linalg.solve(weighed.T @ design, weighed.T @ fitted.y["f"][:, 0])
    model = keras.Sequential([keras.Input((1,), dtype="float64"), keras.layers.Dense(1, dtype="float64")])
    model.set_weights([weights[:1, None], weights[1:]])
    network = Swept(read_graph(model, model.trainable_variables), _weights(model))
    spectrum, calibration = calibrate(network, _rows(fitted), _rows(held_out))
    points = np.array([[-1.0], [0.0], [3.0]])
    ((_, _, gradients),) = network.gradients({"x": points})
    stds = np.sqrt(
        spectrum.variances(spectrum.components(gradients), calibration.ridge) * calibration.variance
        + calibration.misfit
    )[:, 0]
    inverse = np.linalg.inv(weighed.T @ design)
    covariance = noise**2 * inverse @ (weighed.T @ weighed) @ inverse
    at = np.concatenate([points, np.ones_like(points)], axis=1)
    np.testing.assert_allclose(stds[:, 0], np.sqrt(np.einsum("ai,ij,aj->a", at, covariance, at)), rtol=0.2)
    np.testing.assert_allclose(stds[:, 1], np.sqrt(covariance[0, 0]), rtol=0.2)


def test_bars_hold_the_function_and_widen_away_from_the_samples(noisy):
    """Where rows are the bar is far below the noise and holds the truth; beside them it grows."""
    _, bars = noisy
    result = noisy[0]
    x = np.linspace(-0.9, 0.9, 100)[:, None].astype(np.float32)
    stds = {name: np.asarray(std) for name, std in bars.model({"x": x}).items()}
    errors = np.abs(np.asarray(result.model(x)) - np.sin(3 * x))
    assert np.mean(errors <= 1.96 * stds["f_std"]) >= 0.8
    assert 0.01 < np.median(stds["f_std"]) < 0.1
    outside = bars.model({"x": np.array([[1.4]], np.float32)})
    for name, std in stds.items():
        assert float(outside[name][0, 0]) > 2 * np.median(std)


def test_three_times_the_noise_is_three_times_the_bar(noisy):
    """The same rows with more noise: what is told of them scales."""
    _, louder = _bars(*_noisy(0.3))
    ratio = louder.record["bars"]["f_std"]["typical"] / noisy[1].record["bars"]["f_std"]["typical"]
    assert 1.8 < ratio < 5


def test_the_served_network_returns_the_exact_bars(noisy):
    """Those of the approximation it was fitted to, to a tenth in the mean, in any unit of inputs and outputs."""
    result, bars = noisy
    samples, held_out = result.request.samples, result.request.validation
    model = with_dtype(result.model, "float64")
    network = Swept(read_graph(model, model.trainable_variables), _weights(model))
    spectrum, calibration = calibrate(network, _rows(samples), _rows(held_out))
    x = samples.x["x"]
    ((_, _, gradients),) = network.gradients({"x": x})
    exact = np.sqrt(
        spectrum.variances(spectrum.components(gradients), calibration.ridge) * calibration.variance
        + calibration.misfit
    )[:, 0]
    served = bars.model({"x": x.astype(np.float32)})
    for column, name in enumerate(("f_std", "df_dx_std")):
        relative = np.asarray(served[name])[:, 0] / exact[:, column] - 1
        assert np.sqrt(np.mean(relative**2)) < 0.1
        assert np.abs(relative).max() < 0.3


def test_the_record_says_what_the_bars_rest_on(noisy):
    """The rows behind each factor, and up to which bar a point is trusted: nearly every fitted row."""
    result, bars = noisy
    record = json.loads(json.dumps(bars.record))
    assert record["against"] == "32 held-out rows"
    assert record["bars"]["f_std"]["calibrated_on"] == "32 labels"
    assert record["bars"]["df_dx_std"]["calibrated_on"] == "the value's factor"
    at_rows = np.asarray(bars.model({"x": result.request.samples.x["x"].astype(np.float32)})["f_std"])
    assert 0.9 < np.mean(at_rows <= record["bars"]["f_std"]["trusted_up_to"]) < 1


@pytest.mark.slow
def test_slopes_that_are_held_out_have_their_own_factor(log):
    """Several inputs and outputs, slopes fitted: names and shapes of the contract, every slope's labels counted."""
    samples, held_out = hold_out(with_noise(log.samples(60, spacing="random"), 0.01), share=0.4)
    result = fit(log.network(samples=samples), samples, validation=held_out, optimizer=optimizers.Lm(), steps=100)
    bars = uncertainty_of(result.model, result.binding, result.request)
    assert isinstance(bars, Uncertainty)
    assert bars.record["bars"]["df_dx_std"]["calibrated_on"] == "24 labels"


@pytest.mark.slow
def test_vectors_have_the_shapes_of_the_contract(pair_samples):
    """A scalar and a vector output of two inputs, in float64; all are positive."""
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(4,), scale=pair_samples)
    rows = _rows(pair_samples)
    binding = IoBinding.of(model, pair_samples)
    bars = estimate(model, binding, pair_samples, fitted=rows, held_out=rows, against="12 rows", rounding=ZERO)
    assert isinstance(bars, Uncertainty)
    stds = bars.model({name: column.astype(np.float64) for name, column in pair_samples.x.items()})
    assert {name: tuple(std.shape[1:]) for name, std in stds.items()} == {
        "price_std": (1,),
        "dprice_da_std": (2,),
        "dprice_db_std": (1,),
        "pair_std": (2,),
        "dpair_da_std": (2, 2),
        "dpair_db_std": (2, 1),
    }
    assert all((np.asarray(std) > 0).all() for std in stds.values())


@pytest.mark.slow
def test_exact_labels_leave_the_rounding_of_float32(log):
    """The package's own error is in the bars: with the fit's alone they held 16 % of log x."""
    samples = log.samples(40)
    result = fit(log.network(samples=samples), samples, optimizer=optimizers.Lm(), steps=500)
    bars = uncertainty_of(result.model, result.binding, result.request)
    assert isinstance(bars, Uncertainty)
    x = np.linspace(0.1, 1.9, 500)[:, None].astype(np.float32)
    errors = np.abs(np.asarray(result.model(x)).reshape(x.shape) - np.log(x.astype(np.float64)))
    std = np.asarray(bars.model({"x": x})["f_std"])
    assert np.mean(errors <= 1.96 * std) >= 0.9
    assert std.min() > 2e-8


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("no rows", "no rows were held out"),
        ("few rows", "fewer than 8 labels of f were held out"),
        ("not finite", "not finite"),
        ("wide", "more than 128"),
    ],
)
def test_a_fit_without_bars_says_why(case, reason):
    """By name, and before any work is done."""
    x = np.linspace(0, 1, 12)[:, None]
    width = 130 if case == "wide" else 1
    samples = Samples(x, np.tile(x**2, width))
    model = mlp(inputs={"x": 1}, outputs={"f": width}, widths=(2,), scale=samples)
    if case == "not finite":
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    rows = _rows(samples)
    held_out = {"no rows": None, "few rows": rows.take(7)}.get(case, rows)
    bars = estimate(
        model, IoBinding.of(model, samples), samples, fitted=rows, held_out=held_out, against="", rounding=ZERO
    )
    assert isinstance(bars, NoUncertainty)
    assert reason in bars.record["reason"]


@keras.saving.register_keras_serializable("test_uncertainty")
class Once(keras.Layer):
    """A layer whose gradient has none."""

    def call(self, x):
        def never(_):
            raise NotImplementedError("no gradient of this gradient")

        doubled = tf.custom_gradient(lambda cotangent: (2 * cotangent, never))
        return tf.custom_gradient(lambda x: (2 * x, doubled))(x)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["slow", "too slow", "no derivative"])
def test_bars_of_other_layers_take_half_a_minute_or_are_refused(case, pair_samples, monkeypatch):
    """Of slow ones fewer rows and points are taken; the reason has the seconds, or what TensorFlow says."""
    inputs = {name: keras.Input(column.shape[1:], name=name) for name, column in pair_samples.x.items()}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    hidden = keras.layers.Multiply()([keras.layers.Dense(3)(joined), keras.layers.Dense(3, "tanh")(joined)])
    if case == "no derivative":
        hidden = Once()(hidden)
    outputs = {name: keras.layers.Dense(column.shape[1])(hidden) for name, column in pair_samples.y.items()}
    model, rows = keras.Model(inputs, outputs), _rows(pair_samples)
    seconds = {"slow": 1 / 40, "too slow": 2.0, "no derivative": 0.0}[case]
    counted = []
    monkeypatch.setattr(Taped, "row_seconds", property(lambda _: seconds, lambda *_: None))
    monkeypatch.setattr(StdNetwork, "fit", partial(_counted, StdNetwork.fit, counted))
    binding = IoBinding.of(model, pair_samples)
    bars = estimate(model, binding, pair_samples, fitted=rows, held_out=rows, against="12 rows", rounding=ZERO)
    if case == "slow":  # 2,036 rows of a fortieth of a second
        assert isinstance(bars, Uncertainty)
        assert counted == [pytest.approx(30 / (2_036 / 40))]
    else:
        assert isinstance(bars, NoUncertainty)
        assert {
            "too slow": "2 s a row, 4,072 s for 2,036 rows, and 150 s",
            "no derivative": "no gradient of this gradient",
        }[case] in bars.record["reason"]


def _counted(made, parts, *arguments, part):
    parts.append(part)
    return made(*arguments, part=part)


def test_a_network_of_atoms_has_none():
    """The bar of a force turns with the cluster, whether or not the samples tell the species that the network knows."""
    samples = problems.get("lennard-jones").samples(12)
    model = networks.atoms(samples, species=["A", "B", "B", "B", "B"], powers=2, widths=(2,))
    settings = {"loss": Value(), "steps": 1, "seed": 0, "dtype": "float32"}
    request = Request.of(samples, "lbfgs", validation=samples, **settings)
    bars = uncertainty_of(model, IoBinding.of(model, samples), request)
    assert isinstance(bars, NoUncertainty)
    assert "one of atoms" in bars.record["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("loss", [Value(), Sobolev()], ids=["values", "values and slopes"])
def test_exact_labels_with_a_misfit_have_bars_of_its_size(loss):
    """Three units for a wave of twelve bends: the errors are no noise, and the truth lies as far off as they say."""
    x = np.linspace(-1, 1, 100)[:, None]
    samples = Samples(x, np.sin(8 * x) + x, 8 * np.cos(8 * x) + 1)
    fitted, held_out = hold_out(samples, share=0.3)
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(3,), activation="tanh", scale=fitted)
    result = fit(model, fitted, loss=loss, validation=held_out, optimizer=optimizers.Lm(), steps=60)
    bars = uncertainty_of(result.model, result.binding, result.request)
    x = np.linspace(-0.99, 0.99, 300)[:, None].astype(np.float32)
    values, derivatives = evaluate(result.model, result.binding, {"x": x}, {"f": ["x"]})
    stds = bars.model({"x": x})
    least = 0.7 if isinstance(loss, Value) else 0.85  # of slopes that nobody knows
    for name, made, true, held in (
        ("f_std", values["f"], np.sin(8 * x) + x, 0.85),
        ("df_dx_std", derivatives["f"]["x"], 8 * np.cos(8 * x) + 1, least),
    ):
        errors = np.abs(made.reshape(x.shape) - true)
        assert np.sqrt(np.mean(errors**2)) > 0.05 * true.std()  # it does not fit
        assert np.mean(errors <= 1.96 * np.asarray(stds[name])) >= held


@pytest.mark.parametrize(
    ("kind", "fraction", "tolerance"), [("noise", 0, 0), ("misfit", 1, 0.02), ("both", 0.8, 0.15), ("few rows", 0, 0)]
)
def test_misfit_is_told_from_noise_by_its_smoothness(kind, fraction, tolerance):
    """Its part of the variance, and its roughness, that of a sine; labels may be missing."""
    generator = np.random.default_rng(3)
    x = generator.uniform(-2, 2, (7 if kind == "few rows" else 120, 2))
    smooth = np.sqrt(2) * np.sin(3 * x[:, 0])
    noise = generator.standard_normal(len(x))
    parts = {"noise": noise, "misfit": smooth, "both": 2 * smooth + noise, "few rows": smooth}
    errors = np.stack([np.stack([parts[kind], np.full(len(x), np.nan), noise], 1)] * 2, 1)
    errors[: len(x) // 5, 1, 0] = np.nan
    misfit = Misfit.of(x, errors)
    np.testing.assert_allclose(misfit.fraction[:, 0], fraction, atol=tolerance)
    assert (misfit.fraction[:, 1:] == 0).all()
    if fraction:
        assert 2 < misfit.roughness[0, 0] < 20  # of a sine of 3 x: 9 along x
    else:
        assert (misfit.roughness == 0).all()


def test_a_prior_is_that_of_the_weights_that_labels_determine():
    """Forty weights of variance 4 that labels fix, and as many that the fit has shrunk to nothing."""
    weights = np.concatenate([2 * np.random.default_rng(0).standard_normal(40), np.zeros(40)])
    spectrum = Spectrum(np.repeat([1e6, 1e-9], 40), np.eye(80))
    assert spectrum.prior(weights) == pytest.approx(40 / (weights @ weights))


@pytest.mark.parametrize(("outside", "widened"), [(0, False), (1, False), (3, False), (4, True), (20, True)])
def test_bars_are_widened_where_labels_refute_them(outside, widened):
    """Of twenty labels three may lie outside by chance, four come in 1.6 % of cases; never are bars shortened.

    Ten that count twice are as many.
    """
    ratios = np.concatenate([np.full(outside, 3.0), np.full(20 - outside, 0.1)])
    assert _widening(ratios, np.ones(20)) == pytest.approx(3.0 / 1.959964 if widened else 1.0)
    if outside % 2 == 0:
        assert _widening(ratios[::2], np.full(10, 2.0)) == _widening(ratios, np.ones(20))


def test_weights_count_by_their_ratios():
    """Nine rows of one weight beside one of a larger: as many as would tell as much; equal ones are no weights."""
    x = np.arange(10.0)[:, None]
    assert LabelledRows({"x": x}, {"f": x}, {}, np.full(10, 7.0)).counts() == pytest.approx(np.ones(10))
    weights = np.append(np.ones(9), 9.0)
    rows = LabelledRows({"x": x}, {"f": x}, {}, weights)
    assert rows.counts() == pytest.approx(rows.take(10).counts())
    assert rows.counts().sum() == pytest.approx(18**2 / 90)
    assert rows.counts()[-1] == pytest.approx(9 * rows.counts()[0])


def test_rows_that_weigh_nothing_calibrate_nothing():
    """Their labels are unknown to the bars, whatever they are; the others stay."""
    x = np.arange(4.0)[:, None]
    rows = EvaluationSet.of(Samples(x, x, weights=[1.0, 0.0, 2.0, 0.0]), Samples(x, x, x, weights=[1.0, 0.0, 2.0, 0.0]))
    labels = _labelled(rows).labels()[:, 0]
    np.testing.assert_array_equal(labels, [[0, 0], [np.nan] * 2, [2, 2], [np.nan] * 2])
