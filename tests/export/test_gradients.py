"""Gradients in place of TensorFlow's where those are wrong: every signature against closed forms, at such points."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from gradwire_export._gradients import REPLACEMENTS, right_gradients
from gradwire_export._gradients.means import is_mean_of_variance
from gradwire_export._package.signatures import signature_body
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.function import function_of

ALLOWED = {"float32": 3e-6, "float64": 1e-13}  # of the largest entry


@dataclass(frozen=True)
class Truth:
    """A function's exact derivatives at one point: (outputs, inputs) and (outputs, inputs, inputs)."""

    jacobian: np.ndarray
    hessian: np.ndarray


def products(x: np.ndarray, factors: list[list[int]]) -> Truth:
    """Those of one product of inputs for each output."""
    size = len(x)

    def without(factors, *left_out):
        rest = [i for i in factors if i not in left_out]
        return np.prod(x[rest]) if set(left_out) <= set(factors) and len(set(left_out)) == len(left_out) else 0.0

    jacobian = [[without(each, i) for i in range(size)] for each in factors]
    hessian = [[[without(each, i, j) for j in range(size)] for i in range(size)] for each in factors]
    return Truth(np.array(jacobian), np.array(hessian))


def total(truth: Truth) -> Truth:
    """Those of the sum of the outputs."""
    return Truth(truth.jacobian.sum(0, keepdims=True), truth.hessian.sum(0, keepdims=True))


def diagonal(first: np.ndarray, second: np.ndarray) -> Truth:
    """Those of a function of each input alone."""
    return Truth(np.diag(first), np.array([np.diag(row) for row in np.diag(second)]))


def powers(x: np.ndarray, p: np.ndarray) -> Truth:
    """Those of x to constant whole powers."""
    first = [k * v ** (k - 1) if k else 0.0 for v, k in zip(x, p, strict=True)]
    second = [k * (k - 1) * v ** (k - 2) if k > 1 else 0.0 for v, k in zip(x, p, strict=True)]
    return diagonal(np.array(first), np.array(second))


def signatures(call: Any, x: np.ndarray, dtype: str) -> dict[str, dict[str, np.ndarray]]:
    """Every signature of a callable's package, and the tangents and cotangents that it was given."""
    rng = np.random.default_rng(1)
    with right_gradients():
        function = function_of(call, inputs={"x": tf.TensorSpec((None, x.shape[1]), dtype)})
        spec = package_spec(function, (), ["jvp", "vjp", "hvp", "hessian"])
        tensors = {"x": x, "x_dot": rng.normal(size=x.shape)}
        tensors["f_bar"] = rng.normal(size=(len(x), *spec.output_shape("f")))
        rows = {name: tf.constant(array, dtype) for name, array in tensors.items()}

        @tf.function
        def run():
            bodies = {name: signature_body(spec, name) for name in spec.row_signatures}
            return {name: body({key: rows[key] for key in spec.inputs(name)}) for name, body in bodies.items()}

        return tf.nest.map_structure(lambda tensor: tensor.numpy(), run() | {"given": rows})


def require_right(call: Any, x: np.ndarray, truths: list[Truth], dtype: str) -> None:
    """Compare every signature with the exact derivatives of each row."""
    by = signatures(call, x, dtype)
    for row, truth in enumerate(truths):
        n_outputs = len(truth.jacobian)
        v, u = by["given"]["x_dot"][row], by["given"]["f_bar"][row].reshape(n_outputs)
        expected = {
            ("serving_default", "df_dx"): truth.jacobian,
            ("jvp", "f_dot"): truth.jacobian @ v,
            ("vjp", "x_bar"): u @ truth.jacobian,
            ("hvp", "df_dx"): truth.jacobian,
            ("hvp", "df_dx_dot"): truth.hessian @ v,
            ("hessian", "df_dx"): truth.jacobian,
            ("hessian", "d2f_dx2"): truth.hessian,
        }
        for (signature, tensor), array in expected.items():
            actual = by[signature][tensor][row].reshape(array.shape)
            allowed = ALLOWED[dtype] * max(np.abs(array).max(), 1.0)
            message = f"{signature} {tensor} at {x[row]}"
            np.testing.assert_allclose(actual, array, rtol=0, atol=allowed, err_msg=message)


# Without a zero; with one, first and last; two in a row and apart; three; all; negative factors.
FACTORS = np.array(
    [
        [1.5, 2, 3, -1],
        [0, 2, 3, 5],
        [2, 3, 5, 0],
        [2, 0, 0, 3],
        [0, 2, 0, 3],
        [0, 0, 0, 2],
        [0, 0, 0, 0],
        [-1, -2, 0, 3],
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ALLOWED)
def test_a_product_is_right_at_zeros(dtype):
    """The function reduce_prod, to second order; TensorFlow's Hessian is not even symmetric."""
    truths = [products(x, [[0, 1, 2, 3]]) for x in FACTORS]
    require_right(lambda x: tf.reduce_prod(x, 1, keepdims=True), FACTORS, truths, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("exclusive", "reverse"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_cumulative_product_is_right_at_zeros(exclusive, reverse):
    """In each of its four forms; TensorFlow's first derivative at [0, 2, 3] is [0, 0, 0]."""
    parts = [list(range(k + 1 - exclusive)) for k in range(4)]
    if reverse:
        parts = [list(range(k + exclusive, 4)) for k in range(4)]

    def call(x):
        return tf.reduce_sum(tf.math.cumprod(x, 1, exclusive=exclusive, reverse=reverse), 1, keepdims=True)

    dtype = "float32" if reverse else "float64"
    require_right(call, FACTORS, [total(products(x, parts)) for x in FACTORS], dtype)


def test_the_cumulative_product_of_the_issue():
    """The derivative of the last element of cumprod([0, 2, 3]) is [6, 0, 0], of the sum [9, 0, 0]."""
    rows = tf.constant([[0.0, 2, 3]], tf.float64)
    with right_gradients(), tf.GradientTape() as tape:
        tape.watch(rows)
        value = tf.math.cumprod(rows, 1)
        assert np.asarray(tape.gradient(value, rows)).tolist() == [[9, 0, 0]]


@pytest.mark.parametrize("axes", [[1, 2], [1], [2], [-1, 1], []])
def test_a_product_over_any_axes(axes):
    """Axes in the middle, several, negative, none; the Jacobian against the products written out."""
    x = np.array([[[0, 2, 3], [0, 5, 7]], [[1, 2, 3], [0, 0, 7]]], float)
    rows = tf.constant(x)
    with right_gradients(), tf.GradientTape(persistent=True) as tape:
        tape.watch(rows)
        product = tf.reduce_prod(rows, axes)
        over = {axis % 3 for axis in axes}
        parts = [rows]
        for axis in sorted(over, reverse=True):
            parts = [part for whole in parts for part in tf.unstack(whole, axis=axis)]
        written_out = parts[0]
        for part in parts[1:]:
            written_out *= part
        weights = tf.reshape(tf.cast(tf.range(1, 1 + tf.size(product)), x.dtype), product.shape)
    actual, expected = (tape.gradient(value, rows, output_gradients=[weights]) for value in (product, written_out))
    np.testing.assert_array_equal(actual, expected)


MATRICES = {
    1: [[0.0], [2.0]],
    2: [[1, 2, 2, 4], [0, 0, 0, 0], [1, 2, 3, 4]],
    3: [[1, 2, 3, 4, 5, 6, 7, 8, 9], [0] * 9, [2, 0, 1, 0, 3, 0, 1, 0, 4]],
}


@pytest.mark.slow
@pytest.mark.parametrize("size", MATRICES)
def test_a_determinant_is_right_where_the_matrix_is_singular(size):
    """To second order, by the products that a determinant is the sum of; TensorFlow's gradient fails there."""
    x = np.array(MATRICES[size], float)
    orders = list(itertools.permutations(range(size)))
    signs = np.array([np.linalg.det(np.eye(size)[list(order)]).round() for order in orders])

    def truth(row):
        terms = products(row, [[i * size + j for i, j in enumerate(order)] for order in orders])
        return Truth((signs @ terms.jacobian)[None], np.tensordot(signs, terms.hessian, 1)[None])

    require_right(
        lambda x: tf.linalg.det(tf.reshape(x, [-1, size, size]))[:, None], x, [truth(row) for row in x], "float64"
    )


EXPONENTS = [0.0, 1, 2, 3, 5]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "dtype"), [(True, "float32"), (True, "float64"), (False, "float64")])
def test_whole_powers_are_right_at_zero(given, dtype):
    """Constant exponents, and such as the graph does not know: TensorFlow's second derivative of x ** 1 is NaN at 0."""
    x, p = np.array([[0.0] * 5, [-2.0] * 5, [0, 0, 4, 0, 0]]), np.array(EXPONENTS)

    def call(x):
        exponents = tf.constant(p, x.dtype)
        return x ** (exponents if given else tf.broadcast_to(exponents, tf.shape(x)))

    require_right(call, x, [powers(row, p) for row in x], dtype)


def test_powers_of_a_variable_exponent():
    """Both derivatives of x ** y, and the mixed second one, x away from zero."""
    x, y = 1.5, 2.5
    log = np.log(x)
    mixed = x ** (y - 1) * (1 + y * log)
    hessian = [[y * (y - 1) * x ** (y - 2), mixed], [mixed, x**y * log**2]]
    truth = Truth(np.array([[y * x ** (y - 1), x**y * log]]), np.array([hessian]))
    require_right(lambda x: x[:, :1] ** x[:, 1:], np.array([[x, y]]), [truth], "float64")


def logistic(difference):
    """The derivatives of log(e^x + e^y), by x - y."""
    p = 1 / (1 + np.exp(-difference))
    return p, 1 - p, p * (1 - p), -p * (1 - p), p * (1 - p)


def hypotenuse(x, y):
    """The derivatives of the root of x² + y²."""
    r = np.hypot(x, y)
    return x / r, y / r, y * y / r**3, -x * y / r**3, x * x / r**3


# A function of two arguments, a point, and its derivatives there: x, y, xx, xy, yy.
OF_TWO = {
    "xlogy": (
        tf.math.xlogy,
        # At (0, 0) it is not differentiable, and TensorFlow's convention is 0.
        {(0, 2): (np.log(2), 0, 0, 0.5, 0), (3, 2): (np.log(2), 1.5, 0, 0.5, -0.75), (0, 0): (0, 0, 0, 0, 0)},
    ),
    "xlog1py": (tf.math.xlog1py, {(0, 1): (np.log(2), 0, 0, 0.5, 0), (3, 1): (np.log(2), 1.5, 0, 0.5, -0.75)}),
    "xdivy": (tf.math.xdivy, {(0, 2): (0.5, 0, 0, -0.25, 0), (3, 2): (0.5, -0.75, 0, -0.25, 0.75)}),
    "truncatemod": (tf.truncatemod, {(-2.5, 2): (1, 1, 0, 0, 0)}),
    "log(e^x + e^y)": (keras.ops.logaddexp, {(1, 1): (0.5, 0.5, 0.25, -0.25, 0.25), (0, 3): logistic(-3)}),
    "log(e^x + e^y) by the other difference": (
        lambda x, y: tf.maximum(x, y) + tf.math.log1p(tf.exp(-tf.abs(y - x))),
        {(1, 1): (0.5, 0.5, 0.25, -0.25, 0.25), (3, 0): logistic(3)},
    ),
    "-log(e^-x + e^-y)": (
        lambda x, y: tf.minimum(x, y) - tf.math.log1p(tf.exp(-tf.abs(x - y))),
        {(1, 1): (0.5, 0.5, -0.25, 0.25, -0.25)},
    ),
    "hypotenuse": (
        keras.ops.hypot,
        {(x, y): hypotenuse(x, y) for x, y in ((3, 3), (-3, 3), (3, -3), (3, 0), (0, -3), (3, 4))},
    ),
    "the larger plus the smaller": (lambda x, y: tf.maximum(x, y) + tf.minimum(y, x), {(2, 2): (1, 1, 0, 0, 0)}),
    "the larger times the smaller": (lambda x, y: tf.maximum(x, y) * tf.minimum(x, y), {(2, 2): (2, 2, 0, 1, 0)}),
    "the larger less the larger": (lambda x, y: tf.maximum(x, y) - tf.maximum(y, x), {(2, 2): (0, 0, 0, 0, 0)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_TWO)
def test_functions_of_two_arguments(name):
    """Where TensorFlow returns 0 for a derivative that is not, or has none."""
    f, points = OF_TWO[name]
    truths = [
        Truth(np.array([[fx, fy]]), np.array([[[fxx, fxy], [fxy, fyy]]])) for fx, fy, fxx, fxy, fyy in points.values()
    ]
    require_right(lambda x: f(x[:, :1], x[:, 1:]), np.array(list(points), float), truths, "float64")


SOFTPLUS = {x: (1 / (1 + np.exp(-x)), 0.25 / np.cosh(x / 2) ** 2) for x in (0.0, 1.0, -1.0)}


def softplus_in_a_loop(x):
    """In the body of a loop of one turn, between tensors of the body."""

    def step(i, y):
        return i + 1, tf.maximum(y, 0) + tf.math.log1p(tf.exp(-tf.abs(y)))

    return tf.while_loop(lambda i, _: i < 1, step, [tf.constant(0), x])[1]


def squares(x):
    """The square of an absolute value, twice."""
    size = tf.abs(x)
    return tf.square(size) + size * size


# A function, and by point its first and second derivative; a second one that jumps is between both, or of one side.
OF_ONE = {
    "I1": (tf.math.bessel_i1, {0.0: (0.5, 0.0), 1.0: (0.7009067737595233, 0.4294114342254471)}),
    "I0": (tf.math.bessel_i0, {0.0: (0.0, 0.5)}),
    "J1": (tf.math.special.bessel_j1, {0.0: (0.5, 0.0), 1.0: (0.3251471008130330, -0.3251471008130330)}),
    "I1e": (tf.math.bessel_i1e, {0.0: (0.5, 0.0)}),
    "softsign": (tf.math.softsign, {2.0: (1 / 9, -2 / 27), -2.0: (1 / 9, 2 / 27), 0.0: (1.0, 0.0)}),
    "celu": (keras.activations.celu, {0.0: (1.0, 0.0), -1.0: (np.exp(-1), np.exp(-1)), 1.0: (1.0, 0.0)}),
    "celu in a function": (tf.function(keras.activations.celu), {0.0: (1.0, 0.0)}),
    "softplus by a maximum": (lambda x: tf.maximum(x, 0) + tf.math.log1p(tf.exp(-tf.abs(x))), SOFTPLUS),
    "softplus by a ReLU": (lambda x: tf.nn.relu(x) + tf.math.log1p(tf.exp(-tf.abs(-x))), SOFTPLUS),
    "softplus in a loop": (softplus_in_a_loop, SOFTPLUS),
    "x by two ReLUs": (lambda x: tf.nn.relu(x) - tf.nn.relu(-x), {0.0: (1.0, 0.0), -1.0: (1.0, 0.0)}),
    "|x - 1|²": (lambda x: tf.abs(x - 1) ** 2, {1.0: (0.0, 2.0), 0.0: (-2.0, 2.0)}),
    "|x|² twice": (squares, {0.0: (0.0, 4.0)}),
    "a maximum alone": (lambda x: tf.maximum(x, 0), {0.0: (1.0, 0.0)}),
    "a ReLU and an absolute value alone": (lambda x: tf.nn.relu(x - 1) + tf.abs(x), {0.0: (0.0, 0.0), 1.0: (1.0, 0.0)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ONE)
def test_functions_of_one_argument(name):
    """Where TensorFlow's derivative is wrong, its second one NaN, or there is none."""
    f, points = OF_ONE[name]
    truths = [diagonal(np.array([first]), np.array([second])) for first, second in points.values()]
    require_right(f, np.array(list(points))[:, None], truths, "float64")


def variance_truth(x: np.ndarray) -> Truth:
    """Those of the variance."""
    n = len(x)
    return Truth(2 * (x - x.mean())[None] / n, 2 / n * (np.eye(n) - 1 / n)[None])


def moments(x):
    """The variance by tf.nn.moments."""
    return tf.nn.moments(x, [1], keepdims=True)[1]


@tf.function
def called(x):
    """The same in a function of its own."""
    return moments(x)


def by_hand(x):
    """The same, squared by hand."""
    return tf.reduce_mean(tf.square(x - tf.stop_gradient(tf.reduce_mean(x, 1, keepdims=True))), 1, keepdims=True)


def looped(x):
    """The same in a loop of one turn."""
    start = [tf.constant(0), tf.zeros_like(x[:, :1])]
    return tf.while_loop(lambda i, _: i < 1, lambda i, y: (i + 1, y + moments(x)), start)[1]


VARIANCES = {
    "moments": moments,
    "in a function": called,
    "by hand": by_hand,
    "in a loop": looped,
    "in a branch": lambda x: tf.cond(tf.size(x) > 0, lambda: moments(x), lambda: x[:, :1]),
    "in a map": lambda x: tf.map_fn(lambda row: moments(row[None])[0], x),
    "compiled": tf.function(moments, jit_compile=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANCES)
def test_a_variance_is_right_to_second_order(name):
    """The mean that it subtracts is no constant; TensorFlow's Hessian is that of one, 2/n on the diagonal."""
    x = np.array([[1.0, -2, 0.5, 4], [1, 1, 1, 1]])
    require_right(VARIANCES[name], x, list(map(variance_truth, x)), "float64")


@pytest.mark.slow
def test_a_function_that_was_differentiated_before_is_right_too():
    """TensorFlow caches a function's gradient where it was first taken, for an eager tape and for a traced one."""
    function = tf.function(moments)
    x = np.array([[1.0, -2, 0.5, 4]])

    def second(rows):
        with tf.GradientTape() as outer:
            outer.watch(rows)
            with tf.GradientTape() as tape:
                tape.watch(rows)
                value = function(rows)
            gradient = tape.gradient(value, rows)
        return outer.gradient(gradient, rows)

    before = second(tf.constant(x))
    tf.function(second)(tf.constant(x))
    require_right(function, x, [variance_truth(x[0])], "float64")
    assert np.abs(before).max() > 0.4  # the sum of the Hessian's rows, which is zero: it was wrong


KEPT = {
    "weighted squares": lambda x, m: tf.reduce_sum(tf.constant([1.0, 2, 3, 4], x.dtype) * (x - m) ** 2, 1),
    "fewer axes": lambda x, m: tf.math.squared_difference(x, m)[:, 0],
    "the difference alone": lambda x, m: tf.reduce_sum(tf.sin(x - m), 1),
    "a square and another use": lambda x, m: tf.reduce_mean(tf.math.squared_difference(x, m), 1) + m[:, 0],
}


@pytest.mark.parametrize("name", KEPT)
def test_a_stop_gradient_that_first_derivatives_notice_stays_and_is_named(name):
    """It may be meant; what it does is said."""
    use = KEPT[name]
    function = function_of(
        lambda x: use(x, tf.stop_gradient(tf.reduce_mean(x, 1, keepdims=True))),
        inputs={"x": tf.TensorSpec((None, 4), tf.float64)},
    )
    graph = tf.function(function.call).get_concrete_function(function.inputs).graph
    assert not any(map(is_mean_of_variance, graph.get_operations()))
    with right_gradients():
        (warning,) = package_spec(function, ()).warnings
    assert "output 'f' goes through StopGradient ('StopGradient'), which holds its argument fixed" in warning


def test_outside_the_block_gradients_are_tensorflows():
    """Blocks may be nested, and an error in one leaves nothing behind."""
    registry = ops.gradient_registry._registry
    before = {kind: registry.get(kind) for kind in REPLACEMENTS}

    def fail():
        with right_gradients(), right_gradients():
            assert all(registry[kind] is not before[kind] for kind in REPLACEMENTS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {kind: registry.get(kind) for kind in REPLACEMENTS} == before
