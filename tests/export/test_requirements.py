"""What is refused before anything is written, what is warned of, and what passes: each by name."""

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire_export._analysis.requirements import require_derivatives
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.function import function_of

FLAT = tf.TensorSpec((None, 1), tf.float64)
SINGLE = tf.TensorSpec((None, 1), tf.float32)
WHOLE = tf.TensorSpec((None, 1), tf.int32)


@tf.custom_gradient
def straight(x):
    """A round with the gradient of the identity, on purpose."""
    return tf.round(x), lambda up: up


@tf.function
def called(x):
    """A step inside a called function."""
    return tf.floor(x) + x


def looped(x):
    """A step inside the body of a loop."""
    return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.round(y) + tf.sin(y)), [tf.constant(0), x])[1]


def branched(x):
    """A step inside one of two branches."""
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x + tf.math.ceil(x), lambda: x * 2)


def mapped(x):
    """A step inside a map over rows."""
    return tf.map_fn(lambda row: tf.sin(row) + tf.sign(row), x)


def largest(x):
    """The position of the larger of x and -x."""
    return tf.cast(tf.argmax(tf.concat([x, -x], axis=1), axis=1), x.dtype)[:, None]


def of_captured(x):
    """A custom gradient that does not take x as an argument."""

    @tf.custom_gradient
    def inner(y):
        return y * tf.sin(x), lambda up: up * tf.sin(x)

    return inner(tf.ones_like(x)) + x


def resized(x):
    """A square, in an operation whose gradient has none."""
    picture = (x * x)[:, :, None, None] * tf.ones((1, 2, 2, 1), x.dtype)
    return tf.image.resize(picture, (3, 3))[:, 0, :, 0]


def changed(x):
    """Counts its calls in a variable."""
    COUNTER.assign_add(1.0)
    return x * COUNTER


COUNTER = tf.Variable(0.0, dtype=tf.float64)

REFUSED = {
    "integer input": (
        lambda n: tf.cast(n, tf.float64),
        {"n": WHOLE},
        r"input 'n' is int32: only floating-point numbers have derivatives; differentiate with respect to others, wrt=",
    ),
    "integer output": (lambda x: tf.cast(x, tf.int32), {"x": FLAT}, r"output 'f' is int32.*outputs="),
    "complex output": (lambda x: tf.cast(x, tf.complex128), {"x": FLAT}, "output 'f' is complex128"),
    "no path": (
        tf.ones_like,
        {"x": FLAT},
        "output 'f' has no derivative with respect to input 'x': TensorFlow finds no",
    ),
    "floor on the only path": (
        tf.floor,
        {"x": FLAT},
        r"no derivative with respect to input 'x': every path goes through Floor \('Floor'\)",
    ),
    "argmax on the only path": (largest, {"x": FLAT}, r"every path goes through ArgMax \('ArgMax'\)"),
    "one input held fixed": (
        lambda x, t: x + 0 * tf.stop_gradient(t),
        {"x": FLAT, "t": FLAT},
        "with respect to input 't'",
    ),
    "mixed dtypes": (
        lambda x, t: x + tf.cast(t, tf.float64),
        {"x": FLAT, "t": SINGLE},
        "input 'x' float64, input 't' float32, output 'f' float64",
    ),
    "gradient missing beside another path": (
        lambda x: x + tf.math.betainc(x, x + 1, tf.fill(tf.shape(x), tf.constant(0.5, x.dtype))),
        {"x": FLAT},
        r"through Betainc \('Betainc'\), for which TensorFlow has no gradient with respect to that argument",
    ),
    "custom gradient past an input": (of_captured, {"x": FLAT}, "through CustomGradient"),
    "numpy_function": (
        lambda x: x + tf.ensure_shape(tf.numpy_function(np.log, [x], tf.float64), (None, 1)),
        {"x": FLAT},
        r"PyFunc \('PyFunc'\) runs Python, which no server has",
    ),
    "py_function": (
        lambda x: x + tf.ensure_shape(tf.py_function(np.log, [x], tf.float64), (None, 1)),
        {"x": FLAT},
        "EagerPyFunc .* runs Python",
    ),
    "numpy_function in a loop": (
        lambda x: tf.map_fn(lambda row: tf.ensure_shape(tf.numpy_function(np.log, [row], row.dtype), (1,)), x) + x,
        {"x": FLAT},
        "PyFunc .* runs Python",
    ),
    "random numbers": (
        lambda x: x + tf.random.normal(tf.shape(x), dtype=x.dtype),
        {"x": FLAT},
        "RandomStandardNormal .* gives other numbers at every call",
    ),
    "a variable that changes": (changed, {"x": FLAT}, "AssignAddVariableOp .* changes a variable"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_derivative_is_refused_by_name(name):
    """The message names output, input or operation, and comes before anything is written."""
    fn, inputs, message = REFUSED[name]
    with pytest.raises(ConversionError, match=message):
        require_derivatives(function_of(fn, inputs=inputs), ())


def test_a_parameter_is_a_number():
    """Integers may be parameters; truth values may not, nor text (tests/whole/test_strings.py)."""
    spec = tf.TensorSpec((None, 1), tf.bool)
    function = function_of(lambda x, n: x * 2, inputs={"x": FLAT, "n": spec}, wrt=["x"])
    with pytest.raises(ConversionError, match="input 'n' is bool"):
        require_derivatives(function, ())


WARNED = {
    "x + floor(x)": (
        lambda x: x + tf.floor(x),
        "output 'f' depends on input 'x' through Floor ('Floor'), a step",
    ),
    "in a called function": (called, "Floor"),
    "in a loop": (looped, "Round"),
    "in a branch": (branched, "Ceil"),
    "in a map": (mapped, "Sign"),
    "an argmax beside another path": (lambda x: x + largest(x), "ArgMax"),
    "a comparison as a number": (lambda x: tf.cast(x > 0, x.dtype) * x, "Greater"),
    "a cast to integers": (lambda x: x + tf.cast(tf.cast(3 * x, tf.int32), x.dtype), "Cast"),
    "before a custom gradient": (lambda x: straight(tf.floor(x)) + x, "Floor"),
    "a remainder": (lambda x: x * (x % 1), "FloorMod"),
}


@pytest.mark.parametrize("name", WARNED)
def test_a_step_on_any_path_is_warned_of_by_name(name):
    """TensorFlow returns a derivative, and silently leaves the jumps out."""
    fn, message = WARNED[name]
    (warning,) = require_derivatives(function_of(fn, inputs={"x": FLAT}), ()).warnings
    assert message in warning


def test_a_made_up_gradient_is_warned_of():
    """Quantisation for training hands the gradient of the identity on."""
    function = function_of(tf.quantization.fake_quant_with_min_max_args, inputs={"x": SINGLE})
    (warning,) = require_derivatives(function, ()).warnings
    assert "FakeQuantWithMinMaxArgs" in warning
    assert "made-up gradient" in warning


QUIET = {
    "a comparison that selects": lambda x: tf.where(x > 0, x, x * x),
    "kinks": lambda x: tf.nn.relu(x) + tf.abs(x) + tf.maximum(x, 0.5) + tf.clip_by_value(x, -1, 1),
    "a step with a custom gradient": lambda x: straight(x) + x,
    "shapes": lambda x: tf.reshape(x, [tf.shape(x)[0], 1]) * tf.cast(tf.shape(x)[1], x.dtype),
    "a constant held fixed": lambda x: tf.reduce_logsumexp(tf.concat([x, -x], 1), axis=1, keepdims=True),
    "the largest values": lambda x: tf.math.top_k(tf.concat([x, -x], 1), 1).values,
    "constant indices": lambda x: tf.gather(tf.concat([x, x * x], 1), [1, 0], axis=1),
    "a branch": lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: x * x),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_right_passes_without_a_warning(name):
    """Kinks, choices, shapes and custom gradients are no reason to warn."""
    support = require_derivatives(function_of(QUIET[name], inputs={"x": FLAT}), ())
    assert support == type(support)((), two_sweeps=True, without_second=(), loops=False)


def test_gradients_without_gradients_cost_the_second_derivatives():
    """By default they are left out with a warning; requested, they are refused; jvp comes by contraction."""
    function = function_of(resized, inputs={"x": SINGLE})
    spec = package_spec(function, ())
    assert spec.signatures == ("serving_default", "value", "jvp", "vjp", "card")
    assert spec.warnings == (
        (
            "left out hvp and hessian: ResizeBilinearGrad on the way from the inputs to the first derivatives has no "
            "gradient in TensorFlow"
        ),
    )
    assert spec.jvp_by_contraction
    with pytest.raises(ConversionError, match="there is no hvp: ResizeBilinearGrad"):
        package_spec(function, (), ["hvp", "jvp"])
    assert package_spec(function, (), ["jvp"]).warnings == ()


@pytest.mark.parametrize("zeros", [[("f", "x")], [("f", "q")], [("q", "x")], [("f", "n")]])
def test_a_false_zero_is_refused(zeros):
    """A pair that is connected, not there, or not differentiated, cannot be declared zero."""
    function = function_of(lambda x, n: tf.math.log(x), inputs={"x": FLAT, "n": WHOLE}, wrt=["x"])
    with pytest.raises(UsageError, match="zero"):
        require_derivatives(function, zeros)


def test_the_default_signatures_go_with_the_size():
    """All of them, but a Hessian only up to sixteen input numbers, parameters not counted; a choice is a choice."""
    wide = {"x": tf.TensorSpec((None, 17)), "p": tf.TensorSpec((None, 4))}
    small = {"x": tf.TensorSpec((None, 16)), "p": tf.TensorSpec((None, 4))}
    by_size = {
        len(package_spec(function_of(lambda x, p: x * p[:, :1], inputs=inputs, wrt=["x"]), ()).signatures)
        for inputs in (wide, small)
    }
    assert by_size == {6, 7}
    function = function_of(lambda x, p: x * p[:, :1], inputs=wide, wrt=["x"])
    assert package_spec(function, (), ["hessian"]).signatures == ("serving_default", "value", "hessian", "card")
    assert package_spec(function, (), []).signatures == ("serving_default", "value", "card")
    with pytest.raises(UsageError, match=r"signatures \['gradient'\], expected some of jvp, vjp, hvp, hessian"):
        package_spec(function, (), ["gradient"])
