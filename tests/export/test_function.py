"""What export takes, and what it says to the rest."""

import keras
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire_export._function import function_of

FLAT = tf.TensorSpec((None, 1), tf.float32)


def named(*names):
    """A Keras model that adds its inputs."""
    inputs = [keras.Input((1,), name=name) for name in names]
    return keras.Model(
        inputs, keras.layers.Add()(inputs) if len(inputs) > 1 else keras.layers.Dense(1)(inputs[0])
    )


def test_keras_inputs_keep_their_names_and_order():
    """The model's own names and order are the package's."""
    assert list(function_of(named("spot", "vol")).inputs) == ["spot", "vol"]


def test_a_single_unnamed_keras_input_is_x_and_its_output_f():
    """Keras's generated names mean nothing to a caller."""
    function = function_of(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    assert (list(function.inputs), list(function.outputs)) == (["x"], ["f"])


def test_a_single_keras_input_can_be_renamed():
    """One input has no order to get wrong."""
    assert list(function_of(named("a"), inputs=("spot",)).inputs) == ["spot"]


def ratio(structure):
    """A Keras model of a / b, which takes its inputs in a structure of its own."""
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    taken = {"list": [b, a], "dict": {"b": b, "a": a}, "renamed dict": {"under": b, "over": a}}[structure]
    return keras.Model(taken, keras.ops.divide(a, b))


@pytest.mark.parametrize("order", [None, ("a", "b"), ("b", "a")])
@pytest.mark.parametrize("structure", ["list", "dict"])
def test_names_go_with_their_tensors_whatever_the_order(structure, order):
    """The quotient is a / b, however the model takes its inputs and in whatever order they are named."""
    function = function_of(ratio(structure), inputs=order)
    assert order is None or tuple(function.inputs) == order
    found = function.call({"a": tf.constant([[6.0]]), "b": tf.constant([[2.0]])})
    assert found["f"].numpy() == [[3.0]]


def test_the_keys_of_a_dict_are_the_names():
    """A model that takes a dict names its inputs by the keys, not by the tensors behind them."""
    with pytest.warns(UserWarning, match="must match the names"):  # Keras's own, when such a model is made
        model = ratio("renamed dict")
    found = function_of(model).call({"over": tf.constant([[6.0]]), "under": tf.constant([[2.0]])})
    assert found["f"].numpy() == [[3.0]]


def test_variables_are_the_models_sorted():
    """Everything the function reads is held, in an order that does not change from export to export."""
    function = function_of(named("x"))
    names = [variable.name for variable in function.variables]
    assert len(names) == 2
    assert names == sorted(names)


class _Silent(Exception):  # noqa: N818 - the message has to name it
    """A failure with no text."""


def _silent(x):
    raise _Silent


REFUSED = {
    "callable without inputs": (tf.math.log, {}, UsageError, "needs inputs"),
    "no inputs at all": (tf.math.log, {"inputs": {}}, UsageError, "no inputs"),
    "fixed batch": (tf.math.log, {"inputs": {"x": tf.TensorSpec((4, 1))}}, UsageError, r"expected \(None"),
    "scalar": (tf.math.log, {"inputs": {"x": tf.TensorSpec(())}}, UsageError, r"expected \(None"),
    "unknown row": (
        tf.math.log,
        {"inputs": {"x": tf.TensorSpec((None, None))}},
        ConversionError,
        "must be known",
    ),
    "not a name": (tf.math.log, {"inputs": {"x y": FLAT}}, UsageError, "'x y' is not a name"),
    "tangent's name": (tf.math.log, {"inputs": {"x_dot": FLAT}}, UsageError, "_dot"),
    "output is not batched": (tf.reduce_sum, {"inputs": {"x": FLAT}}, ConversionError, "expected \\(None"),
    "two outputs, no names": (lambda x: (x, x), {"inputs": {"x": FLAT}}, UsageError, "2 outputs and 0 names"),
    "output named as input": (
        lambda x: {"x": x * 2},
        {"inputs": {"x": FLAT}},
        UsageError,
        "name 'x' would stand for",
    ),
    "output named as derivative": (
        lambda x: {"f": x, "df_dx": x},
        {"inputs": {"x": FLAT}},
        UsageError,
        "name 'df_dx' would stand for",
    ),
    "cannot be traced": (
        lambda x: x.no_such_thing(),
        {"inputs": {"x": FLAT}},
        ConversionError,
        "cannot be traced",
    ),
    "fails without a word": (_silent, {"inputs": {"x": FLAT}}, ConversionError, "_Silent"),
    "too few names": (named("a", "b"), {"inputs": ("a",)}, UsageError, "model's own are"),
    "names of another model": (named("a", "b"), {"inputs": ("spot", "vol")}, UsageError, "model's own are"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused(name):
    """Every refusal says what was got and what was expected."""
    source, arguments, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        function_of(source, **arguments)
