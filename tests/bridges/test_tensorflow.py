"""TensorFlow over served models: tapes in tapes, eager and in graphs, against TensorFlow's own derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import gradwire
import gradwire.tensorflow


def local(x, t):
    """The served function ``curved`` in TensorFlow."""
    s = t * t
    return s * (x[..., 0] ** 2 * x[..., 1] + tf.sin(x[..., 2])) + t * x[..., 1] * x[..., 2]


def local_w(x, t):
    """The second output of ``pair`` in TensorFlow."""
    return tf.stack([x[..., 0] * t**3, tf.exp(x[..., 1] * x[..., 2]) * t], -1)


def both(x, t):
    """All of ``pair``."""
    return {"f": local(x, t), "w": local_w(x, t)}


def total(found):
    """A number made of one output, or of several with different weights."""
    parts = list(found.values()) if isinstance(found, dict) else [found]
    return tf.add_n([(i + 1.0) * tf.reduce_sum(tf.sin(part)) for i, part in enumerate(parts)])


def first(function, x, t):
    """Value and gradients by a tape."""
    with tf.GradientTape() as tape:
        tape.watch([x, t])
        f = total(function(x, t))
    return [f, *tape.gradient(f, [x, t])]


def second(function, x, t):
    """Gradients of a mixture of gradients, by a tape in a tape."""
    with tf.GradientTape() as outer:
        outer.watch([x, t])
        _, f_x, f_t = first(function, x, t)
        mixture = tf.reduce_sum(f_x**3) + tf.reduce_sum(f_t * f_t)
    return outer.gradient(mixture, [x, t])


@pytest.fixture
def batch():
    """Six points."""
    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, (6, 3)))
    return x, tf.linspace(tf.constant(0.5, tf.float64), 2.0, 6)


@pytest.fixture(params=["eager", "graph", "graph of any size"])
def run(request):
    """Runs a function of (function, x, t) eagerly, or as a graph with a known or an unknown batch."""

    def go(ask, function, *given):
        if request.param == "eager":
            return ask(function, *given)
        shapes = [(None, *a.shape[1:]) if "any" in request.param and a.shape.rank else a.shape for a in given]
        specs = [tf.TensorSpec(shape, a.dtype) for shape, a in zip(shapes, given, strict=True)]
        return tf.function(lambda *arrays: ask(function, *arrays), input_signature=specs)(*given)

    return go


def check(found, expected):
    """Compares lists of tensors."""
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_value_and_gradient_are_one_call(served, batch, run):
    """A tape's value and gradient are one call, eager and in a graph."""
    model, calls = served("curved")
    check(run(first, gradwire.tensorflow.wrap(model), *batch), first(local, *batch))
    assert calls == [("serving_default", 6)]


@pytest.mark.parametrize(("name", "own"), [("curved", local), ("pair", both)])
def test_a_tape_in_a_tape(served, batch, run, name, own, hidden):
    """Second derivatives with cross terms, of one output and of several, are right and are one more call."""
    model, calls = served(name, hidden=hidden)
    check(run(second, gradwire.tensorflow.wrap(model), *batch), second(own, *batch))
    assert [signature for signature, _ in calls] == ["serving_default", "hvp"]


def test_a_tape_around_a_graph(served, batch):
    """Tapes outside of a tf.function see through it twice, whatever else it computes."""
    model, calls = served("curved")
    remote = gradwire.tensorflow.wrap(model)
    inside = tf.function(lambda x, t: remote(x, t) ** 2)

    def outside(x, t):
        return local(x, t) ** 2

    check(first(inside, *batch), first(outside, *batch))
    check(second(inside, *batch), second(outside, *batch))
    assert {name for name, _ in calls} == {"serving_default", "hvp"}


def test_jacobians(served, batch):
    """tape.jacobian, vectorised, and the Hessian through it row by row."""
    model, calls = served("curved")
    found = []
    for function in (gradwire.tensorflow.wrap(model), local):
        x, t = batch[0][0], batch[1][0]
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                f = function(x, t)
            f_x = inner.gradient(f, x)
        found.append(outer.jacobian(f_x, x, experimental_use_pfor=False))
    check(found[:1], found[1:])
    calls.clear()
    found = []
    for function in (gradwire.tensorflow.wrap(model), local):
        with tf.GradientTape() as tape:
            tape.watch(batch[0])
            f = function(*batch)
        found.append(tape.jacobian(f, batch[0]))
    check(found[:1], found[1:])
    assert len(calls) == 1


def test_forms_and_variables(served, batch):
    """A variable, a single number for a batch of batches, float32: each gets a gradient of its own form and dtype."""
    model, _ = served("curved")
    f = gradwire.tensorflow.wrap(model)
    x, t = (
        tf.Variable(tf.cast(tf.reshape(batch[0], (2, 3, 3)), tf.float32)),
        tf.Variable(1.3, dtype=tf.float64),
    )
    with tf.GradientTape() as tape:
        value = f(t=t, x=x)
    assert (value.shape, value.dtype) == ((2, 3), tf.float64)
    found = tape.gradient(value, [x, t])
    wide = tf.cast(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(wide)
        expected = local(wide, t)
    x_bar, t_bar = tape.gradient(expected, [wide, t])
    assert found[0].dtype == tf.float32
    np.testing.assert_allclose(found[0], x_bar, rtol=1e-6)
    np.testing.assert_allclose(found[1], t_bar, rtol=1e-12)
    np.testing.assert_allclose(f(batch[0].numpy(), 1.3), local(batch[0], 1.3), rtol=1e-12)


def test_batches_that_differ_are_refused(served):
    """In a graph that does not know its sizes, different batch shapes are found when it runs."""
    f = gradwire.tensorflow.wrap(served("curved")[0])
    specs = [tf.TensorSpec((None, None, 3), tf.float64), tf.TensorSpec((None, None, 1), tf.float64)]
    graph = tf.function(f, input_signature=specs)
    assert graph(tf.zeros((2, 6, 3), tf.float64), tf.ones((2, 6, 1), tf.float64)).shape == (2, 6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="different batch shapes"):
        graph(tf.zeros((2, 6, 3), tf.float64), tf.ones((3, 4, 1), tf.float64))


def test_what_is_not_there_is_refused(served, batch):
    """Second derivatives without hvp and hessian, and third ones in any case, are errors that say so."""
    with pytest.raises(gradwire.SignatureNotFound, match="signatures hvp"):
        second(gradwire.tensorflow.wrap(served("curved", hidden=["hvp", "hessian"])[0]), *batch)
    whole = gradwire.tensorflow.wrap(served("curved")[0])
    with tf.GradientTape() as tape:
        tape.watch(batch[0])
        f_x = second(whole, *batch)[0]
    with pytest.raises(gradwire.UsageError, match="third derivative"):
        tape.gradient(f_x, batch[0])

    @tf.function
    def graph(x, t):
        with tf.GradientTape() as third:
            third.watch(x)
            f_x = second(whole, x, t)[0]
        return third.gradient(f_x, x)

    with pytest.raises(tf.errors.OpError, match="third derivative"):
        graph(*batch)


def test_parameters_have_no_derivative(with_parameter):
    """By an input that the package is not differentiated by, there is an error and not a zero."""
    f = gradwire.tensorflow.wrap(with_parameter)
    k, x = tf.constant(3.0, tf.float64), tf.constant([1.0, 2.0], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([k, x])
        value = f(k, x)
    with pytest.raises(gradwire.UsageError, match="parameters"):
        tape.gradient(value, k)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(k, x)
    np.testing.assert_allclose(tape.gradient(value, x), [6.0, 12.0])
