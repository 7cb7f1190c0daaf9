"""Signatures as graphs of ONNX: what a Session computes, for models of every kind; what is not written is named."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from gradwire._errors import ConversionError
from gradwire._numerics import compare
from gradwire._package import Signature, TensorSpec
from gradwire_export._conversion import flat_graph
from gradwire_export._gradients import right_gradients
from gradwire_export._package.signatures import signature_body
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.function import function_of

onnx = pytest.importorskip("onnx", reason="ONNX is in the environment of the bridges")
onnxruntime = pytest.importorskip("onnxruntime")

from gradwire_export._onnx import graph, model  # noqa: E402 - they import ONNX

SIGNATURES = ["serving_default", "value", "jvp", "vjp", "hvp", "hessian"]
EPS = 64  # of a tensor's largest magnitude; one more operation or one less is a few
RNG = np.random.default_rng(0)


def layers(shape, *chain, dtype):
    """A Keras model of float64 or float32 layers, one after the other."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(dtype)
    try:
        x = keras.Input(shape, name="x", dtype=dtype)
        y = x
        for layer in chain:
            y = layer()(y)
        return keras.Model(x, y)
    finally:
        keras.config.set_dtype_policy("float32")


def black_scholes(spot, vol):
    """A call at strike 1 and time 1, no rate: N(d) is written with erfc and with erf."""
    d1 = tf.math.log(spot) / vol + vol / 2
    first = tf.math.erfc(-d1 / np.sqrt(2)) / 2
    return spot * first - (1 + tf.math.erf((d1 - vol) / np.sqrt(2))) / 2


def two_stages(x):
    """A sum of two networks, the second fed with the first, and pieces cut out of both."""
    first = tf.tanh(x @ tf.constant(RNG.normal(size=(3, 4))))
    second = tf.nn.softplus(tf.concat([x, first], 1) @ tf.constant(RNG.normal(size=(7, 2))))
    return tf.reduce_sum(first[:, ::2] * second, 1, keepdims=True) + tf.stack([x[:, 1], x[:, 2]], 1)[:, :1]


def elementary(x):
    """Functions that onnxruntime lacks in float64, and activations; of 0 < x < 1."""
    inner = tf.sinh(x) + tf.cosh(x) + tf.tan(x) + tf.asinh(x) + tf.acosh(x + 1.5) + tf.atanh(x / 2) + tf.atan(3 * x)
    outer = (
        tf.asin(x / 2) + tf.acos(x / 2) + tf.math.expm1(x) + tf.math.log1p(x) + tf.nn.elu(x - 0.5) + tf.nn.selu(x - 0.5)
    )
    return (
        inner + outer + tf.nn.leaky_relu(x - 0.5) + tf.nn.softsign(x) + tf.math.rsqrt(x) + tf.sigmoid(-30 * x) + x**1.5
    )


def moved(x):
    """Elements gathered, turned round, padded, repeated and summed by parts."""
    gathered = tf.gather(x, [2, 0, 2], axis=1) * tf.reverse(x, [1])
    padded = tf.pad(gathered, [[0, 0], [1, 2]])[:, 1:-1] ** 2
    tiled = tf.reshape(tf.tile(x, [1, 2]), [-1, 2, 3])
    cut, rest = tf.split(tf.cumsum(padded, axis=1), [1, 3], axis=1)
    square = tf.linalg.diag(x) + tf.linalg.band_part(tiled[:, :1] * tiled[:, 1:, :1], -1, 0)
    return cut + tf.reduce_max(rest, 1, keepdims=True) + tf.einsum("bij,bjk->b", tiled, square)[:, None]


def reduced(x):
    """A softmax, a variance, a product, and branches by element."""
    mean, variance = tf.nn.moments(x, [1], keepdims=True)
    chosen = tf.where(x > mean, x * x, tf.minimum(x, 2 * variance))
    return (
        tf.reduce_logsumexp(chosen, 1, keepdims=True) + tf.reduce_prod(x, 1, keepdims=True) + tf.nn.softmax(x)[:, 1:2]
    )


def table(n, x):
    """A row of a table by an integer parameter."""
    rows = tf.constant([[1.0, 0.5], [2.0, -1.0], [0.0, 3.0]], x.dtype)
    row = tf.gather(rows, n[:, 0] % 3)
    return row[:, :1] * tf.sin(x) + tf.one_hot(n[:, 0] // 2, 3, dtype=x.dtype) @ rows[:, 1:] * x * x


def from_both_sides(a, b):
    """Many elements of few, a scalar of all, and a chain: pushed forward, swept back, and several elements together."""
    wide = tf.tanh(b @ tf.constant(RNG.normal(size=(1, 7))))
    chain = a * tf.pad(a, [[0, 0], [1, 0]])[:, :-1]
    return {"scalar": tf.reduce_sum(tf.sin(a), 1, keepdims=True) * b, "wide": wide + 0 * a[:, :1], "chain": chain * b}


def guarded(x):
    """Quotients, logarithms and remainders that are guarded, and elements scattered; of 0.1 < x < 1."""
    first, second, third = (x[:, place : place + 1] for place in range(3))
    products = (
        tf.math.divide_no_nan(first, second) + tf.math.xlogy(second, third) + tf.math.multiply_no_nan(third, first)
    )
    clipped = tf.nn.relu6(8 * x) + tf.clip_by_value(x, 0.3, 0.6) + tf.math.floormod(x, 0.25) + tf.math.xlog1py(x, x)
    largest = tf.one_hot(tf.argmax(x, 1), 3, dtype=x.dtype) * x
    columns = tf.tensor_scatter_nd_update(tf.transpose(x), [[1]], tf.gather_nd(tf.transpose(clipped), [[2]]))
    return products + tf.reduce_sum(clipped * largest + tf.transpose(columns) ** 2, 1, keepdims=True)


L = keras.layers
IMAGE = [
    lambda: L.Conv2D(3, 3, strides=2, padding="same", activation="tanh"),
    lambda: L.DepthwiseConv2D(2, depth_multiplier=2),
    lambda: L.MaxPooling2D(2, strides=1, padding="same"),
    lambda: L.AveragePooling2D(2, padding="same"),
    L.Flatten,
    lambda: L.Dense(1),
]
NORMALISED = [
    lambda: L.Dense(6, "swish"),
    L.LayerNormalization,
    lambda: L.BatchNormalization(momentum=0.5),
    lambda: L.Dense(2),
]
SCALAR, THREE = (None, 1), (None, 3)
# Model, shapes and dtypes of its inputs, the box they are drawn from, and signatures that it does not have.
MODELS = {
    "log": (tf.math.log, {"x": SCALAR}, "float64", (0.1, 1.9)),
    "log of flat rows": (tf.math.log, {"x": (None,)}, "float32", (0.1, 1.9)),
    "Black-Scholes": (black_scholes, {"spot": SCALAR, "vol": SCALAR}, "float64", (0.5, 1.5)),
    "dense": (lambda: layers((3,), *[lambda: L.Dense(5, "sigmoid")] * 2, lambda: L.Dense(1), dtype="float32"), None, "float32", (-1, 1)),
    "normalised": (lambda: layers((3,), *NORMALISED, dtype="float64"), None, "float64", (-1, 1)),
    "image, float64": (lambda: layers((6, 6, 2), *IMAGE, dtype="float64"), None, "float64", (-1, 1)),
    "image, float32": (lambda: layers((6, 6, 2), *IMAGE, dtype="float32"), None, "float32", (-1, 1)),
    "two stages": (two_stages, {"x": THREE}, "float64", (-1, 1)),
    "elementary": (elementary, {"x": SCALAR}, "float64", (0.1, 0.9)),
    "moved": (moved, {"x": THREE}, "float64", (-1, 1)),
    "reduced": (reduced, {"x": THREE}, "float64", (0.2, 1)),
    "from both sides": (from_both_sides, {"a": (None, 4), "b": SCALAR}, "float64", (-1, 1)),
    "guarded": (guarded, {"x": THREE}, "float64", (0.11, 0.99)),
    "a table": (table, {"n": SCALAR, "x": SCALAR}, "float64", (0, 2)),
}  # fmt: skip


def written(name, signature):
    """A signature's flat graph and its contract; the function that draws its inputs."""
    make, inputs, dtype, (lower, upper) = MODELS[name]
    specs = inputs and {key: tf.TensorSpec(shape, "int32" if key == "n" else dtype) for key, shape in inputs.items()}
    function = function_of(make() if inputs is None else make, inputs=specs, wrt=["x"] if name == "a table" else None)
    with right_gradients():
        spec = package_spec(function, (), SIGNATURES[2:] if signature in SIGNATURES[2:] else ())
    taken = spec.inputs(signature)

    def body(*tensors):
        return signature_body(spec, signature)(dict(zip(taken, tensors, strict=True)))

    with right_gradients():
        traced = tf.function(body).get_concrete_function(*taken.values())
    flat = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    outputs = dict(zip(sorted(traced.structured_outputs), flat.outputs, strict=True))
    whole = tf.compat.v1.MetaGraphDef(graph_def=flat.graph.as_graph_def())
    for key, tensor in zip(taken, flat.inputs, strict=True):
        whole.signature_def[signature].inputs[key].name = tensor.name
    for key, tensor in outputs.items():
        whole.signature_def[signature].outputs[key].name = tensor.name
    contract = Signature(
        signature,
        {key: TensorSpec(key, each.dtype.name, tuple(each.shape)) for key, each in taken.items()},
        {key: TensorSpec(key, tensor.dtype.name, (None, *tensor.shape[1:])) for key, tensor in outputs.items()},
    )

    def draw(rows):
        random = np.random.default_rng(rows)
        return {
            key: random.uniform(lower, upper, (rows, *each.shape[1:])).astype(each.dtype.as_numpy_dtype)
            for key, each in taken.items()
        }

    return flat_graph(whole, signature, {}), contract, draw


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("name", MODELS)
def test_a_signature_in_onnx_is_what_a_session_computes(name, signature):
    """At many rows, one and none; the model passes ONNX's checker with its shapes, in ONNX's own operators alone."""
    flat, contract, draw = written(name, signature)
    alone = model.alone(graph.signature_graph(flat, contract, draw))
    onnx.checker.check_model(alone, full_check=True)
    assert {node.domain for node in alone.graph.node} == {""}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
    with tf.Graph().as_default() as imported, tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(flat.graph_def, name="")
        for rows in (40, 1):
            inputs = draw(rows)
            expected = session.run(dict(flat.outputs), {flat.inputs[key]: array for key, array in inputs.items()})
            actual = dict(zip(contract.outputs, runtime.run(list(contract.outputs), inputs), strict=True))
            for key, array in expected.items():
                distance = compare(actual[key], array)
                assert distance.eps <= EPS, f"{key} {distance}"
        del imported
    for key, array in zip(contract.outputs, runtime.run(None, draw(0)), strict=True):
        assert array.shape == (0, *contract.outputs[key].shape[1:])


UNWRITTEN = {
    "Cholesky": lambda x: tf.linalg.cholesky(tf.eye(3, dtype=x.dtype) * 9 + x[:, :, None] * x[:, None])[:, :, 0],
    "While": lambda x: tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, tf.sin(y)), [tf.constant(0), x])[1],
    "Lgamma": tf.math.lgamma,
}


@pytest.mark.parametrize("kind", UNWRITTEN)
def test_an_operation_that_is_not_written_is_named(monkeypatch, kind):
    """The message has TensorFlow's name of the operation."""
    monkeypatch.setitem(MODELS, kind, (UNWRITTEN[kind], {"x": THREE}, "float64", (0.5, 1)))

    def write():
        graph.signature_graph(*written(kind, "value"))

    with pytest.raises(ConversionError, match=rf"{kind} \("):
        write()


EDGES = [0.0, -0.0, 1e-300, 1e-9, 0.3, 0.84, 0.85, 1.2, 1.3, 2.8, 2.9, 6.0, 27.0, 30.0, np.inf, np.nan]
WIDE = np.array([*EDGES, *np.negative(EDGES), *np.random.default_rng(1).normal(0, 3, 500)])
UNIT = np.concatenate([np.linspace(-1, 1, 401), [0.0, 1e-12, np.nan]])
# Function, its truth, where, and the ulp of each result that are allowed.
TRUTHS = {
    "erf": (tf.math.erf, np.vectorize(math.erf), WIDE, 3),
    "erfc": (tf.math.erfc, np.vectorize(math.erfc), WIDE[np.abs(WIDE) < 26], 8),
    "atan": (tf.atan, np.arctan, WIDE, 3),
    "asin": (tf.asin, np.arcsin, UNIT, 4),
    "acos": (tf.acos, np.arccos, UNIT[UNIT < 1], 4),
    "sinh": (tf.sinh, np.sinh, WIDE, 8),
    "cosh": (tf.cosh, np.cosh, WIDE, 8),
    "asinh": (tf.asinh, np.arcsinh, WIDE, 8),
    "atanh": (tf.atanh, np.arctanh, UNIT[np.abs(UNIT) < 1], 8),
    "expm1": (tf.math.expm1, np.expm1, WIDE, 8),
    "log1p": (tf.math.log1p, np.log1p, np.abs(WIDE), 4),
    "softplus": (tf.nn.softplus, lambda x: np.logaddexp(0, x), WIDE[np.abs(WIDE) < 700], 16),
    "sigmoid": (tf.sigmoid, scipy.special.expit, WIDE, 8),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_a_function_that_is_written_out_has_its_digits(monkeypatch, name):
    """In float64 it is right to a few ulp of each result, small ones included, and NaN stays NaN."""
    function, truth, points, ulps = TRUTHS[name]
    monkeypatch.setitem(MODELS, name, (function, {"x": SCALAR}, "float64", (0.1, 0.9)))
    flat, contract, draw = written(name, "value")
    alone = model.alone(graph.signature_graph(flat, contract, draw))
    runtime = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    [actual] = runtime.run(None, {"x": points[:, None]})
    with np.errstate(all="ignore"):
        expected = truth(points)
    np.testing.assert_array_equal(np.isnan(actual[:, 0]), np.isnan(expected))
    known = np.isfinite(expected) & (np.abs(expected) > 1e-290)
    np.testing.assert_array_max_ulp(actual[known, 0], expected[known], ulps)
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(actual[infinite, 0], expected[infinite])
