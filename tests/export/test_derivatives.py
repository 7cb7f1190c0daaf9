"""First derivatives: against closed forms, against differences, and against a plain tape for each number."""

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire_export._derivatives import derivative_by_component, require_derivatives, value_and_gradients
from gradwire_export._function import function_of, row_shape

FLAT = tf.TensorSpec((None, 1), tf.float64)


def in_graph(function, arrays, zeros=()):
    """Runs the derivatives as a package does: inside a tf.function."""
    traced = tf.function(lambda tensors: value_and_gradients(function, tensors, zeros))
    return traced.get_concrete_function(function.inputs)(
        {name: tf.constant(array) for name, array in arrays.items()}
    )


def test_every_model_agrees_with_a_tape_for_each_output_number(case, draw_rows):
    """Repeated rows and one sweep give what a plain tape gives for each output number alone."""
    function = case.function()
    arrays = draw_rows(function, case.domain)
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    values, gradients = in_graph(function, arrays)
    expected_values = function.call(tensors)
    for output, spec in function.outputs.items():
        eps = np.finfo(spec.dtype.as_numpy_dtype).eps
        np.testing.assert_allclose(values[output], expected_values[output], rtol=0, atol=64 * eps)
        for index in np.ndindex(*row_shape(spec)):
            expected = derivative_by_component(function, tensors, output, index)
            for wrt, found in gradients[output].items():
                part = found if row_shape(spec) in ((), (1,)) else found[(slice(None), *index)]
                scale = float(tf.reduce_max(tf.abs(expected[wrt]))) + 1e-3
                np.testing.assert_allclose(part, expected[wrt], rtol=0, atol=64 * eps * scale)


def test_every_model_agrees_with_central_differences(case, draw_rows):
    """The derivative along a random direction is that of the values."""
    function = case.function()
    arrays = draw_rows(function, case.domain)
    directions = draw_rows(function, (-1.0, 1.0), seed=1)
    double = next(iter(function.inputs.values())).dtype == tf.float64
    h, tolerance = (1e-5, 1e-8) if double else (1e-2, 5e-3)
    _, gradients = in_graph(function, arrays)
    ahead = function.call(
        {n: tf.constant(a + np.asarray(h, a.dtype) * directions[n]) for n, a in arrays.items()}
    )
    behind = function.call(
        {n: tf.constant(a - np.asarray(h, a.dtype) * directions[n]) for n, a in arrays.items()}
    )
    for output, spec in function.outputs.items():
        numbers = int(np.prod(row_shape(spec)))
        along = sum(
            np.einsum(
                "bij,bj->bi",
                np.reshape(gradients[output][wrt], (5, numbers, -1)),
                np.reshape(direction, (5, -1)),
            )
            for wrt, direction in directions.items()
        )
        difference = (ahead[output].numpy() - behind[output].numpy()).reshape(5, numbers) / (2 * h)
        np.testing.assert_allclose(along, difference, rtol=tolerance * 50, atol=tolerance * 20)


def test_log_has_the_closed_form():
    """D log x / dx is 1/x to the last bit or the one beside it."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, (1000, 1))
    values, gradients = in_graph(function_of(tf.math.log, inputs={"x": FLAT}), {"x": x})
    np.testing.assert_array_max_ulp(values["f"].numpy(), np.log(x), 1)
    np.testing.assert_array_max_ulp(gradients["f"]["x"].numpy(), 1 / x, 1)


def test_no_rows_give_no_rows(case, draw_rows):
    """Zero rows go through, with the contract's shapes, wherever the model itself takes them."""
    function = case.function()
    rows = draw_rows(function, case.domain, rows=0)
    try:
        function.call({name: tf.constant(array) for name, array in rows.items()})
    except (tf.errors.OpError, ValueError):
        pytest.skip("the model itself takes no zero rows (Keras's Conv1D and LSTM, on some processors)")
    values, gradients = in_graph(function, rows)
    for output, spec in function.outputs.items():
        assert values[output].shape == (0, *row_shape(spec))
        one_number = row_shape(spec) in ((), (1,))
        for wrt, gradient in gradients[output].items():
            wrt_shape = row_shape(function.inputs[wrt])
            assert gradient.shape == (0, *(wrt_shape if one_number else (*row_shape(spec), *wrt_shape)))


REFUSED = {
    "integer input": (
        lambda n: tf.cast(n, tf.float64),
        {"n": tf.TensorSpec((None, 1), tf.int32)},
        "input 'n' is int32: only floating numbers have derivatives",
    ),
    "integer output": (lambda x: tf.cast(x, tf.int32), {"x": FLAT}, "output 'f' is int32"),
    "complex output": (lambda x: tf.cast(x, tf.complex128), {"x": FLAT}, "output 'f' is complex128"),
    "no path": (tf.ones_like, {"x": FLAT}, "output 'f' has no derivative by input 'x'"),
    "only path through an op with no gradient": (
        tf.floor,
        {"x": FLAT},
        "output 'f' has no derivative by input 'x'",
    ),
    "one input unused": (lambda x, t: x + 0 * tf.stop_gradient(t), {"x": FLAT, "t": FLAT}, "by input 't'"),
    "mixed dtypes": (
        lambda x, t: x + tf.cast(t, tf.float64),
        {"x": FLAT, "t": tf.TensorSpec((None, 1), tf.float32)},
        "different dtypes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_missing_derivative_is_refused_by_name(name):
    """What has no derivative is refused before anything is written, naming output and input."""
    fn, inputs, message = REFUSED[name]
    with pytest.raises(ConversionError, match=message):
        require_derivatives(function_of(fn, inputs=inputs), ())


def test_a_declared_zero_is_zero():
    """A pair that is not connected may be declared zero, and is."""
    function = function_of(lambda x, t: {"f": x * x, "g": x * t}, inputs={"x": FLAT, "t": FLAT})
    require_derivatives(function, [("f", "t")])
    _, gradients = in_graph(function, {"x": np.full((2, 1), 3.0), "t": np.full((2, 1), 5.0)}, [("f", "t")])
    assert gradients["f"]["t"].numpy().tolist() == [[0.0], [0.0]]
    assert gradients["g"]["x"].numpy().tolist() == [[5.0], [5.0]]


@pytest.mark.parametrize("zeros", [[("f", "x")], [("f", "q")], [("q", "x")]])
def test_a_false_zero_is_refused(zeros):
    """A pair that is connected, or not there, cannot be declared zero."""
    with pytest.raises(UsageError, match="zero"):
        require_derivatives(function_of(tf.math.log, inputs={"x": FLAT}), zeros)
