"""What export takes, and how it refuses the rest."""

import keras
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire_export._sources.function import function_of

FLAT = tf.TensorSpec((None, 1), tf.float32)


def named(*names):
    """A Keras model that adds its inputs."""
    inputs = [keras.Input((1,), name=name) for name in names]
    return keras.Model(inputs, keras.layers.Add()(inputs) if len(inputs) > 1 else keras.layers.Dense(1)(inputs[0]))


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
    outputs = function.call({"a": tf.constant([[6.0]]), "b": tf.constant([[2.0]])})
    assert outputs["f"].numpy() == [[3.0]]


def test_the_keys_of_a_dict_are_the_names():
    """A model that takes a dict names its inputs by the keys, not by the tensors behind them."""
    with pytest.warns(UserWarning, match="must match the names"):  # Keras's own, when such a model is made
        model = ratio("renamed dict")
    outputs = function_of(model).call({"over": tf.constant([[6.0]]), "under": tf.constant([[2.0]])})
    assert outputs["f"].numpy() == [[3.0]]


def test_variables_are_the_models_sorted():
    """All variables that the function reads, in an order that does not change from export to export."""
    function = function_of(named("x"))
    names = [variable.name for variable in function.variables]
    assert len(names) == 2
    assert names == sorted(names)


def test_outputs_select_where_there_are_names():
    """Of the outputs that the source names, those that are requested stay, in the caller's order."""
    inputs = {"x": FLAT}
    by_dict = function_of(lambda x: {"f": x * 2, "g": x * 3, "h": x}, inputs=inputs, outputs=["h", "f"])
    by_sequence = function_of(lambda x: (x * 2, x * 3, x + 1), inputs=inputs, outputs=["h", "f"], named=["f", "g", "h"])
    assert list(by_dict.outputs) == list(by_sequence.outputs) == ["h", "f"]
    assert by_sequence.call({"x": tf.constant([[2.0]])})["h"].numpy() == [[3.0]]


def test_outputs_rename_where_names_are_generated():
    """As many new names as a Keras model has outputs replace those that Keras made up for its layers."""
    x = keras.Input((1,), name="x")
    model = keras.Model(x, [keras.layers.Dense(1)(x), keras.layers.Dense(2)(x)])
    assert list(function_of(model, outputs=["price", "risk"]).outputs) == ["price", "risk"]
    assert list(function_of(model, outputs=[model.output_names[1]]).outputs) == [model.output_names[1]]


def test_inputs_and_outputs_can_be_renamed():
    """A mapping gives a package's name for the model's own: layers' names, and dicts' keys, may be anything."""
    a, b = keras.Input((1,), name="Mach number"), keras.Input((1,), name="alpha (deg)")
    model = keras.Model({"Mach number": a, "alpha (deg)": b}, {"Lift coefficient": a / b, "other": b})
    function = function_of(
        model, inputs={"alpha": "alpha (deg)", "mach": "Mach number"}, outputs={"cl": "Lift coefficient"}
    )
    assert (list(function.inputs), list(function.outputs)) == (["alpha", "mach"], ["cl"])
    outputs = function.call({"mach": tf.constant([[6.0]]), "alpha": tf.constant([[2.0]])})
    assert outputs["cl"].numpy() == [[3.0]]


def test_wrt_keeps_the_models_order():
    """The differentiated inputs keep the order of the inputs, in whatever order they are named."""
    inputs = {"a": FLAT, "b": FLAT, "n": tf.TensorSpec((None, 1), tf.int32)}
    assert function_of(lambda a, b, n: a * b, inputs=inputs, wrt=["b", "a"]).wrt == ("a", "b")
    assert function_of(lambda a, b, n: a * b, inputs=inputs).wrt == ("a", "b", "n")


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
    "underscore first": (tf.math.log, {"inputs": {"_x": FLAT}}, UsageError, "a letter first"),
    "letters that no graph takes": (
        tf.math.log,
        {"inputs": {"\N{GREEK SMALL LETTER SIGMA}": FLAT}},
        UsageError,
        "is not a name",
    ),
    "names that differ in case": (
        lambda big, small: big * small,
        {"inputs": {"S": FLAT, "s": FLAT}},
        UsageError,
        "inputs 'S' and 's' differ in case alone",
    ),
    "outputs that differ in case": (
        lambda x: {"f": x * 2, "F": x * 3},
        {"inputs": {"x": FLAT}},
        UsageError,
        "outputs 'f' and 'F' differ in case alone",
    ),
    "differentiated by nothing": (tf.math.log, {"inputs": {"x": FLAT}, "wrt": []}, UsageError, "one or more"),
    "differentiated by a stranger": (
        tf.math.log,
        {"inputs": {"x": FLAT}, "wrt": ["y"]},
        UsageError,
        r"wrt names \['y'\], expected one or more of the inputs \['x'\]",
    ),
    "an output that is not there": (
        lambda x: {"f": x * 2},
        {"inputs": {"x": FLAT}, "outputs": ["g"]},
        UsageError,
        r"the function's own are \['f'\]",
    ),
    "another name for an output that was trained under its own": (
        lambda x: x * 2,
        {"inputs": {"x": FLAT}, "outputs": ["g"], "named": ["f"]},
        UsageError,
        r"outputs names \['g'\], and the function's own are \['f'\]",
    ),
    "an output of a sequence that is not there": (
        lambda x: (x * 2, x * 3),
        {"inputs": {"x": FLAT}, "outputs": ["g"], "named": ["f", "h"]},
        UsageError,
        r"the function's own are \['f', 'h'\]",
    ),
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
    "fails silently": (_silent, {"inputs": {"x": FLAT}}, ConversionError, "_Silent"),
    "too few names": (named("a", "b"), {"inputs": ("a",)}, UsageError, "model's own are"),
    "names of another model": (named("a", "b"), {"inputs": ("spot", "vol")}, UsageError, "model's own are"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused(name):
    """Every refusal says what was got and what was expected."""
    source, arguments, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        function_of(source, **arguments)
