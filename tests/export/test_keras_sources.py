"""Keras models of every kind that people bring: exported with right derivatives, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from gradwire._errors import ConversionError, GradwireError, PackageError, UsageError
from gradwire_export import export
from gradwire_export._checks.fresh_process import Request
from gradwire_export._sources.function import function_of
from gradwire_export._sources.source import read_source

pytestmark = pytest.mark.usefixtures("run_in_one_process", "without_card_checks")

X = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype("f")
N = np.array([[1], [2], [5], [3]])


class Subclass(keras.Model):
    """Takes one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = layers.Dense(3, "tanh"), layers.Dense(1)

    def call(self, x):
        return self.last(self.hidden(x))


class OfDict(Subclass):
    """Takes a dict."""

    def call(self, inputs):
        return super().call(inputs["x"]) * inputs["scale"]


def _built(model: keras.Model, arguments: Any) -> keras.Model:
    model(arguments)
    return model


def _net() -> keras.Model:
    return keras.Sequential([keras.Input((2,), name="x"), layers.Dense(3, "tanh"), layers.Dense(1)])


def _looked_up(layer: layers.Layer, dtype: str) -> keras.Model:
    """A model of x and of an embedding of what a layer makes of a parameter n."""
    n, x = keras.Input((1,), name="n", dtype=dtype), keras.Input((2,), name="x")
    found = layer(n)
    if found.dtype.startswith("int"):
        found = layers.Flatten()(layers.Embedding(10, 2)(found))
    return keras.Model([n, x], layers.Dense(1)(layers.Dense(4, "tanh")(layers.Concatenate()([found, x]))))


def _adapted() -> layers.Layer:
    layer = layers.IntegerLookup()
    layer.adapt(np.array([1, 2, 5, 5]))
    return layer


def _captured() -> Callable[..., Any]:
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2, 5], tf.int64), tf.constant([1.0, 2.0, -1.0])), 0.5
    )
    return lambda n, x: tf.sin(x) * table.lookup(n)


POINTS = {"x": X}
WITH_SCALE = {"x": X, "scale": np.full((4, 1), 2, "f")}
LOOKED_UP = {"n": N, "x": X}
OPTIONS = {"wrt": ["x"], "domain": {"n": (1, 5)}}
SPECS = {"n": tf.TensorSpec((None, 1), tf.int64), "x": tf.TensorSpec((None, 2), tf.float32)}

# name: (model, points by input, options of export)
EXPORTED: dict[str, tuple[Callable[[], Any], dict[str, np.ndarray], dict[str, Any]]] = {
    "a subclass that was called": (lambda: _built(Subclass(), X), POINTS, {}),
    "a subclass that was called, and specs": (
        lambda: _built(Subclass(), X),
        POINTS,
        {"inputs": {"x": tf.TensorSpec((None, 2), tf.float32)}},
    ),
    "a subclass of a dict": (lambda: _built(OfDict(), WITH_SCALE), WITH_SCALE, {"wrt": ["x"]}),
    "IntegerLookup": (
        lambda: _looked_up(layers.IntegerLookup(vocabulary=[1, 2, 5]), "int64"),
        LOOKED_UP,
        OPTIONS,
    ),
    "IntegerLookup, adapted, one hot": (lambda: _looked_up(_adapted(), "int64"), LOOKED_UP, OPTIONS),
    "Hashing": (lambda: _looked_up(layers.Hashing(5), "int64"), LOOKED_UP, OPTIONS),
    "CategoryEncoding": (lambda: _looked_up(layers.CategoryEncoding(6), "int64"), LOOKED_UP, OPTIONS),
    "Discretization": (
        lambda: _looked_up(layers.Discretization(bin_boundaries=[2.0, 4.0]), "float32"),
        {"n": N.astype("f"), "x": X},
        OPTIONS,
    ),
    "a table that a function captures": (_captured, LOOKED_UP, OPTIONS | {"inputs": SPECS}),
    "steps of any number": (
        lambda: keras.Sequential([keras.Input((None, 2), name="x"), layers.SimpleRNN(3), layers.Dense(1)]),
        {"x": np.stack([X, X[::-1]], axis=1)},
        {"shapes": {"x": (2, 2)}},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_a_model_is_exported_with_its_derivatives(name, tmp_path, run_in_one_process):
    """Another process returns the model's values, and derivatives that differences of those values confirm."""
    keras.utils.set_random_seed(0)
    make, points, options = EXPORTED[name]
    model = make()
    exported = export(model, to=tmp_path / "m", signatures=[], **options)
    assert {tensor.name for tensor in exported.card.inputs} == set(points)
    (response,) = run_in_one_process(exported.path, [Request("serving_default", points)])
    _require_values_and_differences(model, points, response.outputs)


def _require_values_and_differences(model: Any, points: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
    def value(x: np.ndarray) -> np.ndarray:
        taken = {name: tf.constant(array) for name, array in (points | {"x": x}).items()}
        if isinstance(model, OfDict):
            return np.asarray(model(taken))
        if not isinstance(model, keras.Model):
            return np.asarray(model(*taken.values()))
        return np.asarray(model(list(taken.values()) if len(taken) > 1 else taken["x"]))

    x, step = points["x"], 2.0**-7
    np.testing.assert_allclose(outputs["f"], value(x), rtol=1e-5, atol=1e-6)
    for element in np.ndindex(*x.shape[1:]):
        ahead, behind = x.copy(), x.copy()
        ahead[(slice(None), *element)] += step
        behind[(slice(None), *element)] -= step
        expected = (value(ahead) - value(behind)) / (2 * step)
        actual = outputs["df_dx"][(..., *element)].reshape(expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_an_h5_file_is_the_model_that_was_saved(tmp_path):
    """Values and derivatives are those of the model in Python."""
    model = _net()
    model.save(tmp_path / "net.h5")
    loaded = function_of(read_source(tmp_path / "net.h5").model)
    x = tf.constant(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        values = loaded.call({"x": x})["f"], model(x)
    np.testing.assert_array_equal(*values)
    np.testing.assert_array_equal(*(tape.gradient(value, x) for value in values))


def test_code_in_an_h5_file_runs_only_on_request(tmp_path):
    """As in a .keras file."""
    x = keras.Input((1,), name="x")
    keras.Model(x, layers.Lambda(lambda y: y * y)(x)).save(tmp_path / "square.h5")
    with pytest.raises(PackageError, match="--unsafe-lambda"):
        read_source(tmp_path / "square.h5")


def _weights(path: Any) -> Any:
    _net().save_weights(path / "m.weights.h5")
    return path / "m.weights.h5"


def _mixed(last: str | None) -> keras.Model:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return keras.Sequential([keras.Input((2,)), layers.Dense(3, name="half"), layers.Dense(1, dtype=last)])
    finally:
        keras.config.set_dtype_policy(policy)


# name: (source of a directory, options, class, message)
REFUSED: dict[str, tuple[Callable[[Any], Any], dict[str, Any], type[GradwireError], str]] = {
    "a subclass that was not called": (
        lambda _: Subclass(),
        {},
        UsageError,
        r"does not know its inputs: call it once, model\(x\), or give .*inputs=",
    ),
    "a Sequential model that was not called": (
        lambda _: keras.Sequential([layers.Dense(1)]),
        {},
        UsageError,
        "does not know its inputs: call it once",
    ),
    "weights alone": (_weights, {}, PackageError, "No model config.*it holds weights alone: load them into the model"),
    "mixed_float16": (
        lambda _: _mixed(None),
        {},
        ConversionError,
        r"layer 'half' computes in float16 \(policy mixed_float16\).*new.set_weights",
    ),
    "mixed_float16 with a last layer in float32": (
        lambda _: _mixed("float32"),
        {},
        ConversionError,
        "layer 'half' computes in float16",
    ),
    "steps of any number": (
        lambda _: keras.Sequential([keras.Input((None, 3), name="x"), layers.SimpleRNN(2)]),
        {},
        ConversionError,
        r"has shape \(None, None, 3\).* --shape x=12,3 \(shapes={'x': \(12, 3\)}\)",
    ),
    "a shape that does not fit": (
        lambda _: _net(),
        {"shapes": {"x": (3,)}},
        UsageError,
        r"rows of shape \(3,\), expected one that fits \(None, 2\)",
    ),
    "a shape of another input": (lambda _: _net(), {"shapes": {"y": (3,)}}, UsageError, "shapes names input 'y'"),
    "TextVectorization": (
        lambda _: _looked_up(layers.TextVectorization(vocabulary=["up"], output_sequence_length=2), "string"),
        {},
        ConversionError,
        "input 'n' is string",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_by_name(name, tmp_path):
    """One line with what to do, and nothing is left."""
    make, options, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as refused:
        export(make(tmp_path), to=tmp_path / "m", **options)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_model_behind_a_lookup_takes_its_integers(tmp_path):
    """The way out for strings: the lookup's integers are the parameter."""
    model = _looked_up(layers.StringLookup(vocabulary=["a", "b"], name="lookup"), "string")
    lookup = model.get_layer("lookup")
    behind = keras.Model([lookup.output, model.inputs[1]], model.output)
    names = {"n": behind.inputs[0].name, "x": "x"}
    exported = export(behind, to=tmp_path / "m", inputs=names, wrt=["x"], domain={"n": (0, 2)}, signatures=[])
    assert [(tensor.name, tensor.dtype) for tensor in exported.card.inputs] == [("n", "int64"), ("x", "float32")]
