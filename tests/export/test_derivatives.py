"""First derivatives as packages have them: a closed form, declared zeros, and what each signature costs in rows."""

import numpy as np
import tensorflow as tf

from gradwire_export._package.eager import value_and_gradients
from gradwire_export._package.spec import plan_of
from gradwire_export._sources.function import function_of

FLAT = tf.TensorSpec((None, 1), tf.float64)


def in_graph(function, arrays, zeros=()):
    """Runs the derivatives as a package does: inside a tf.function."""
    traced = tf.function(lambda tensors: value_and_gradients(function, tensors, zeros))
    return traced.get_concrete_function(function.inputs)({name: tf.constant(array) for name, array in arrays.items()})


def test_log_has_the_closed_form():
    """D log x / dx is 1/x to the last bit or the one beside it."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, (1000, 1))
    values, gradients = in_graph(function_of(tf.math.log, inputs={"x": FLAT}), {"x": x})
    np.testing.assert_array_max_ulp(values["f"].numpy(), np.log(x), 1)
    np.testing.assert_array_max_ulp(gradients["f"]["x"].numpy(), 1 / x, 1)


def test_a_declared_zero_is_zero():
    """A pair that is not connected may be declared zero, and is."""
    function = function_of(lambda x, t: {"f": x * x, "g": x * t}, inputs={"x": FLAT, "t": FLAT})
    _, gradients = in_graph(function, {"x": np.full((2, 1), 3.0), "t": np.full((2, 1), 5.0)}, [("f", "t")])
    assert gradients["f"]["t"].numpy().tolist() == [[0.0], [0.0]]
    assert gradients["g"]["x"].numpy().tolist() == [[5.0], [5.0]]


def test_one_output_number_is_a_plain_tape():
    """Nothing is repeated where one reverse sweep gives all: the graph has no Tile."""
    plan = plan_of(function_of(tf.math.log, inputs={"x": FLAT}), ())
    traced = tf.function(lambda tensors: value_and_gradients(plan.function, tensors, ()))
    graph = traced.get_concrete_function(plan.function.inputs).graph
    assert "Tile" not in {operation.type for operation in graph.get_operations()}
    assert {name: plan.copies(name) for name in plan.signatures} == dict.fromkeys(plan.signatures, 1)


def test_several_numbers_take_turns_and_many_take_copies():
    """Up to 32 sweeps go over one evaluation; more, or loops, repeat the rows; products with the Jacobian do neither."""
    spec = tf.TensorSpec((None, 3), tf.float64)
    few = function_of(lambda x: {"f": x * x, "g": x[:, :1]}, inputs={"x": spec})
    many = function_of(lambda x: tf.tile(x, [1, 20]), inputs={"x": spec})

    def looped(x):
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y)), [tf.constant(0), x])[1]

    asked = ["jvp", "vjp", "hvp", "hessian"]
    copies = [
        {name: plan_of(function, (), asked).copies(name) for name in ("serving_default", *asked)}
        for function in (few, many, function_of(looped, inputs={"x": spec}))
    ]
    assert copies == [
        {"serving_default": 1, "jvp": 1, "vjp": 1, "hvp": 1, "hessian": 1},
        {"serving_default": 60, "jvp": 1, "vjp": 1, "hvp": 60, "hessian": 180},
        {"serving_default": 3, "jvp": 1, "vjp": 1, "hvp": 3, "hessian": 9},
    ]
