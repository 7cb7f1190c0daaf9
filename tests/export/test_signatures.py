"""Signatures as packages have them: a closed form, declared zeros, and how each takes its reverse sweeps."""

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire._package import SIGNATURES
from gradwire_export._derivatives import RepeatedRows, SeparateSweeps
from gradwire_export._package.signatures import signature_body
from gradwire_export._package.spec import package_spec
from gradwire_export._sources.function import function_of

SCALAR = tf.TensorSpec((None, 1), tf.float64)
OPTIONAL = ["jvp", "vjp", "hvp", "hessian"]


def traced(spec, signature="serving_default"):
    """A signature as a package has it: inside a tf.function."""
    return tf.function(signature_body(spec, signature)).get_concrete_function(spec.inputs(signature))


def test_log_has_the_closed_form():
    """D log x / dx is 1/x to the last bit or the one beside it."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, (1000, 1))
    spec = package_spec(function_of(tf.math.log, inputs={"x": SCALAR}), ())
    outputs = traced(spec)({"x": tf.constant(x)})
    np.testing.assert_array_max_ulp(outputs["f"].numpy(), np.log(x), 1)
    np.testing.assert_array_max_ulp(outputs["df_dx"].numpy(), 1 / x, 1)


def test_a_declared_zero_is_zero():
    """A pair that is not connected may be declared zero, and is, in every signature."""
    function = function_of(lambda x, t: {"f": x * x, "g": x * t}, inputs={"x": SCALAR, "t": SCALAR})
    spec = package_spec(function, [("f", "t")], OPTIONAL)
    x, one = {"x": tf.constant([[3.0]] * 2, tf.float64), "t": tf.constant([[5.0]] * 2, tf.float64)}, [[1.0]] * 2
    directions = {name: tf.constant(one, tf.float64) for name in ("x_dot", "t_dot", "f_bar", "g_bar")}
    for signature in ("serving_default", "hvp", "hessian"):
        outputs = traced(spec, signature)({name: (x | directions)[name] for name in spec.inputs(signature)})
        assert outputs["df_dt"].numpy().tolist() == [[0.0], [0.0]]
        assert outputs["dg_dx"].numpy().tolist() == [[5.0], [5.0]]
    assert outputs["d2f_dt2"].numpy().tolist() == [[[0.0]], [[0.0]]]
    assert outputs["d2g_dx_dt"].numpy().tolist() == [[[1.0]], [[1.0]]]


@pytest.mark.slow
def test_every_signature_of_the_contract_has_its_inputs_and_outputs():
    """The tensors are those of the table; a signature that the table gains and export does not know fails here."""
    function = function_of(lambda x, n: {"f": x * n, "g": x[:, 0]}, inputs={"x": SCALAR, "n": SCALAR}, wrt=["x"])
    stds = function_of(
        lambda x, n: {
            name: tf.abs(x * n) for name in ("f_std", "df_dx_std", "g_std", "dg_dx_std", "of_another_output")
        },
        inputs={"x": SCALAR, "n": SCALAR},
    )
    spec = package_spec(function, (), [*OPTIONAL, "uncertainty"], stds=stds)
    assert spec.signatures == tuple(SIGNATURES)
    tensors = {
        signature: (set(spec.inputs(signature)), set(traced(spec, signature).structured_outputs))
        for signature in spec.row_signatures
    }
    assert tensors == {
        "serving_default": ({"x", "n"}, {"f", "g", "df_dx", "dg_dx"}),
        "value": ({"x", "n"}, {"f", "g"}),
        "jvp": ({"x", "n", "x_dot"}, {"f", "g", "f_dot", "g_dot"}),
        "vjp": ({"x", "n", "f_bar", "g_bar"}, {"f", "g", "x_bar"}),
        "hvp": ({"x", "n", "x_dot"}, {"f", "g", "df_dx", "dg_dx", "df_dx_dot", "dg_dx_dot"}),
        "hessian": ({"x", "n"}, {"f", "g", "df_dx", "dg_dx", "d2f_dx2", "d2g_dx2"}),
        "uncertainty": ({"x", "n"}, {"f_std", "g_std", "df_dx_std", "dg_dx_std"}),
    }


def test_error_bars_are_there_where_something_is_known_of_the_errors():
    """By default no signature without them; on request a refusal with the reason."""
    function = function_of(tf.math.log, inputs={"x": SCALAR})
    assert "uncertainty" not in package_spec(function, ()).signatures
    with pytest.raises(ConversionError, match="no uncertainty: nobody measured it"):
        package_spec(function, (), ["uncertainty"], no_stds="nobody measured it")


def test_a_scalar_output_is_a_plain_tape():
    """Nothing is repeated where one reverse sweep is enough: the graph has no Tile."""
    spec = package_spec(function_of(tf.math.log, inputs={"x": SCALAR}), ())
    assert "Tile" not in {operation.type for operation in traced(spec).graph.get_operations()}
    assert {name: spec.n_repeats(name) for name in spec.signatures} == dict.fromkeys(spec.signatures, 1)


def test_several_elements_are_swept_separately_and_many_repeat_the_rows():
    """Up to 32 sweeps go over one evaluation; more, or loops, repeat the rows; Jacobian products do neither."""
    spec, wide = tf.TensorSpec((None, 3), tf.float64), tf.TensorSpec((None, 40), tf.float64)
    few = function_of(lambda x: {"f": tf.sin(x @ tf.ones((3, 2), x.dtype)), "g": x[:, :1]}, inputs={"x": spec})
    many = function_of(lambda x: tf.sin(x @ tf.ones((40, 60), tf.float64)), inputs={"x": wide})

    def looped(x):
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y)), [tf.constant(0), x])[1]

    specs = [package_spec(function, (), OPTIONAL) for function in (few, many, function_of(looped, inputs={"x": spec}))]
    repeats = [{name: spec.n_repeats(name) for name in ("serving_default", *OPTIONAL)} for spec in specs]
    assert repeats == [
        {"serving_default": 1, "jvp": 1, "vjp": 1, "hvp": 1, "hessian": 1},
        {"serving_default": 40, "jvp": 1, "vjp": 1, "hvp": 40, "hessian": 2400},
        {"serving_default": 3, "jvp": 1, "vjp": 1, "hvp": 3, "hessian": 9},
    ]
    strategies = [type(spec.strategy("hvp")) for spec in specs]
    assert strategies == [SeparateSweeps, RepeatedRows, RepeatedRows]


@pytest.mark.slow
def test_every_output_promises_its_row_shape():
    """TensorFlow loses the static shape of a gradient of slices; a signature that promises any size is no promise."""
    function = function_of(
        lambda x, t: {"f": x[:, :1] * x[:, 1:2] * t, "w": tf.concat([x[:, :1] * t**3, x[:, 1:2] * t], 1)},
        inputs={"x": tf.TensorSpec((None, 3), tf.float64), "t": SCALAR},
    )
    spec = package_spec(function, (), OPTIONAL)
    for signature in spec.row_signatures:
        for name, output in traced(spec, signature).structured_outputs.items():
            assert output.shape[1:].is_fully_defined(), (signature, name)
