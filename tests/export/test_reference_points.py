"""The float64 graph of a package, and the reference points that are computed with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire import Card, CardTensor, Model, load
from gradwire_export._checks.finite_differences import directional_derivatives
from gradwire_export._checks.float64_graph import Float64Graph, NoFloat64Graph
from gradwire_export._checks.reference_points import DIFFERENCES, FLOAT64_GRAPH, reference_points

ROWS = 16


@dataclass(frozen=True)
class Saved:
    """A package of one input x and one output f with its derivative, without a card."""

    path: Path
    row: tuple[int, ...]
    dtype: str

    @property
    def card(self) -> Card:
        return Card(
            name="saved",
            inputs=(CardTensor("x", self.dtype, self.row),),
            outputs=(CardTensor("f", self.dtype, (1,)),),
            derivatives={"f": {"x": "df_dx"}},
            signatures=("serving_default", "value"),
        )

    def points(self) -> np.ndarray:
        return np.random.default_rng(0).uniform(-1, 1, (ROWS, *self.row)).astype(self.dtype)


def save(
    path: Path, call: Callable[[Any], Any], row: tuple[int, ...], variables: Any = (), dtype: str = "float32"
) -> Saved:
    """Saves f and df/dx as a package holds them."""

    def value(x):
        return {"f": call(x)}

    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            f = call(x)
        return {"f": f, "df_dx": tape.gradient(f, x)}

    module = tf.Module()
    module.held = list(variables)
    spec = tf.TensorSpec((None, *row), dtype, name="x")
    signatures = {
        name: tf.function(body).get_concrete_function(spec)
        for name, body in (("serving_default", both), ("value", value))
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return Saved(path, row, dtype)


def keras_model(*layers: Any, row: tuple[int, ...]) -> keras.Model:
    """A Sequential model whose statistics and biases are not their defaults."""
    model = keras.Sequential([keras.Input(row), *layers, keras.layers.Dense(1)])
    generator = np.random.default_rng(4)
    for variable in model.variables:
        variable.assign(variable.value + generator.uniform(0.1, 0.4, variable.shape))
    return model


def gru(row: tuple[int, ...]) -> keras.Model:
    """Recurrent, with a loop inside."""
    return keras_model(keras.layers.GRU(4), row=row)


def normalised(row: tuple[int, ...]) -> keras.Model:
    """With moving statistics."""
    return keras_model(keras.layers.Dense(5, "tanh"), keras.layers.BatchNormalization(), row=row)


def dense(row: tuple[int, ...]) -> keras.Model:
    """Two layers."""
    return keras_model(keras.layers.Dense(8, "sigmoid"), keras.layers.Dense(8, "softplus"), row=row)


def looped(x):
    """A loop, a branch, a cast and a table of weights looked up by integers."""
    weights = tf.gather(tf.constant([[0.3, 0.7], [1.1, -0.2], [0.5, 0.4]]), [0, 2])
    body = lambda i, y: (i + 1, tf.sin(y) + 0.1 * tf.cast(i, tf.float32))  # noqa: E731 - a loop's body
    y = tf.while_loop(lambda i, _: i < 3, body, [tf.constant(0), x @ weights])[1]
    return tf.cond(tf.size(x) > 0, lambda: tf.reduce_sum(y, 1, keepdims=True), lambda: x[:, :1])


MODELS = {"dense": (dense, (3,)), "GRU": (gru, (4, 2)), "batch normalisation": (normalised, (3,))}


@pytest.fixture(scope="module", params=[*MODELS, "loop"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Float32 packages of several kinds."""
    path = tmp_path_factory.mktemp("saved") / "1"
    if request.param == "loop":
        return save(path, looped, (2,))
    make, row = MODELS[request.param]
    keras.utils.set_random_seed(1)
    model = make(row)
    return save(path, lambda x: model(x, training=False), row, [v.value for v in model.variables])


@pytest.mark.slow
def test_the_float64_graph_is_the_package_in_float64(saved: Saved):
    """Its f is the package's but for rounding; its df agrees with eighth-order differences of its f to 1e-13."""
    graph, x = Float64Graph(saved.path, ("serving_default", "value")), saved.points()
    exact = graph.run("serving_default", {"x": x})
    assert {array.dtype for array in exact.values()} == {np.dtype(np.float64)}
    with load(saved.path) as model:
        served = model.predict("serving_default", x=x)
    for name, array in exact.items():
        scale = np.abs(array).max()
        assert 0 < np.abs(array - served[name]).max() < 100 * np.finfo(np.float32).eps * scale
    v = {"x": np.ones_like(x, np.float64)}
    boxes = {"x": (np.full(saved.row, -2.0), np.full(saved.row, 2.0))}
    wide = {"x": x.astype(np.float64)}
    difference = directional_derivatives(
        lambda rows: graph.run("value", rows), wide, v, boxes, np.finfo(np.float64).eps
    )["f"]
    along = exact["df_dx"].reshape(ROWS, -1).sum(1, keepdims=True)
    scale = np.abs(exact["f"]).max() + np.abs(exact["df_dx"]).reshape(ROWS, -1).sum(1).max()
    assert np.abs(along - difference.value).max() < 2e-13 * scale
    graph.close()


@pytest.mark.slow
def test_reference_points_come_from_the_float64_graph(saved: Saved):
    """The elements of 32 points, as exact text; and how far the derivative is from differences."""
    with load(saved.path) as model:
        reference = reference_points(saved.path, saved.card, model)
    assert reference["method"] == FLOAT64_GRAPH
    assert reference["points"] == 32
    assert reference["uncertainty"] == {}
    assert reference["differences"]["df_dx"]["relative"] < 1e-12
    assert reference["differences"]["df_dx"]["worst"] < 1
    x = np.array(reference["x"]["x"].split(), float)
    assert np.array_equal(x, x.astype(np.float32))  # exact in the package's dtype
    assert len(reference["tensors"]["df_dx"].split()) == len(x)


def test_a_float64_package_is_its_own_float64_graph(tmp_path: Path):
    """Nothing is left to widen: the same values, bit by bit."""
    saved = save(tmp_path / "1", lambda x: tf.math.log(2.5 + x), (1,), dtype="float64")
    x = saved.points()
    with load(saved.path) as model:
        served = model.predict("serving_default", x=x)
    exact = Float64Graph(saved.path, ["serving_default"]).run("serving_default", {"x": x})
    assert all(np.array_equal(served[name], exact[name]) for name in exact)


def bits(x):
    """Reads float32 as bits, which float64 has not."""
    same = tf.bitcast(tf.bitcast(x, tf.int32), tf.float32)
    return tf.abs(x - 0.25) + tf.sin(3 * x) + 0.0 * tf.stop_gradient(same)


def fused(x):
    """An op with a float32 kernel alone."""
    one = tf.ones([1])
    y = tf.raw_ops.FusedBatchNormV3(
        x=x[:, None, None, :], scale=one, offset=one, mean=one, variance=one, is_training=False
    )
    return tf.sin(y.y[:, 0, 0, :])


def test_where_there_is_no_float64_graph_differences_replace_it(tmp_path: Path):
    """The card says why; points near the kink are left out and counted; the uncertainty covers the true error."""
    saved = save(tmp_path / "1", bits, (1,))
    with load(saved.path) as model:
        reference = reference_points(saved.path, saved.card, model)
    assert reference["method"] == DIFFERENCES
    assert "Bitcast" in reference["no_twin"]
    assert reference["points"] + reference["discarded"] == 32
    x = np.array(reference["x"]["x"].split(), float)
    df = np.array(reference["tensors"]["df_dx"].split(), float)
    off = np.abs(df - np.sign(x - 0.25) - 3 * np.cos(3 * x)).max()
    assert off < reference["uncertainty"]["df_dx"] < 1e-2


def test_an_op_without_a_float64_kernel_has_no_float64_graph(tmp_path: Path):
    """It is told, not crashed on; its derivative comes by differences."""
    saved = save(tmp_path / "1", fused, (1,))
    with pytest.raises(NoFloat64Graph):
        Float64Graph(saved.path, ["value"]).run("value", {"x": saved.points()})
    with load(saved.path) as model:
        reference = reference_points(saved.path, saved.card, model)
    assert reference["method"] == DIFFERENCES
    assert "double" in reference["no_twin"]


def test_a_float64_graph_that_is_another_function_is_refused(tmp_path: Path):
    """Eps of float32 as a constant decides here, so float64 takes another branch: differences replace it."""
    saved = save(tmp_path / "1", lambda x: tf.where(x + 1e-9 > x, 10.0, 0.0) + x * x, (1,))
    with load(saved.path) as model:
        reference = reference_points(saved.path, saved.card, model)
    assert reference["method"] == DIFFERENCES
    assert "further" in reference["no_twin"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_differences_estimate_their_own_error(dtype: type):
    """Of closed forms, smooth and steep: the error is within the estimate, and in float64 the estimate is small."""
    eps = float(np.finfo(dtype).eps)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 1)).astype(dtype)
    cases = {
        "sin": (np.sin, np.cos),
        "exp": (lambda t: np.exp(4 * t), lambda t: 4 * np.exp(4 * t)),
        "log": (lambda t: np.log(t + 1.2), lambda t: 1 / (t + 1.2)),
        "abs": (np.abs, np.sign),
    }
    box = {"x": (np.array([-1.1]), np.array([1.1]))}
    for name, (f, df) in cases.items():
        difference = directional_derivatives(
            lambda rows, f=f: {"f": f(rows["x"])}, {"x": x}, {"x": np.ones((200, 1))}, box, eps
        )["f"]
        away, smooth = np.abs(difference.value - df(x.astype(float)))[:, 0], ~difference.near_kink
        assert (away <= 8 * difference.error[:, 0] + 8 * eps * np.abs(df(x.astype(float)))[:, 0])[smooth].all(), name
        assert dtype == np.float32 or name == "abs" or np.median(difference.error) < 1e-11
        assert name != "abs" or 0 < difference.near_kink.sum() < 20


@pytest.mark.parametrize("bend", [1e-5, 1e-3, 1.0])
def test_a_kink_near_a_point_is_no_disagreement(bend: float):
    """At whatever distance: steps that straddle it far to one side agree with each other, and at it both sides have."""
    near = np.concatenate([[1e-9, 1e-7, 1e-5], np.geomspace(1e-4, 0.2, 40)])
    x = np.concatenate([near, -near, np.linspace(0.3, 0.9, 40)])[:, None]
    difference = directional_derivatives(
        lambda rows: {"f": np.sin(rows["x"]) + bend * np.abs(rows["x"])},
        {"x": x},
        {"x": np.ones_like(x)},
        {"x": (np.array([-1.0]), np.array([1.0]))},
        float(np.finfo(np.float64).eps),
    )["f"]
    away = np.abs(difference.value - np.cos(x) - bend * np.sign(x))[:, 0]
    assert (away <= 8 * difference.error[:, 0] + 1e-14)[~difference.near_kink].all()
    assert not difference.near_kink[2 * len(near) :].any()


def test_a_large_model_gets_fewer_points(tmp_path: Path):
    """The card stays of a size that travels."""
    saved = save(tmp_path / "1", lambda x: tf.reduce_sum(tf.sin(x), axis=1, keepdims=True), (1000,))
    with load(saved.path) as model:
        reference = reference_points(saved.path, saved.card, model)
    assert reference["points"] == 4
    assert len(str(reference)) < 250_000


@pytest.mark.slow
def test_the_loaded_models_card_is_not_read(saved: Saved):
    """It is not complete yet: a package without one will do."""
    with load(saved.path) as model:
        assert isinstance(model, Model)
        assert "card" not in model.signatures
        assert reference_points(saved.path, saved.card, model)["points"] == 32
