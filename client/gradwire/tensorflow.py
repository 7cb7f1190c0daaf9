"""A model as a TensorFlow function: eager and inside tf.function, with tapes in tapes.

    log = gradwire.tensorflow.wrap(gradwire.connect("localhost:8500", "log"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        f = log(x)
    df_dx = tape.gradient(f, x)

Value and derivative come in one call, and the gradient of the value is arithmetic on the derivative, which has a gradient
of its own: second derivatives. A third derivative is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire._bridges import Bridge, listed, split
from gradwire._errors import ShapeError, UsageError
from gradwire._extras import import_extra
from gradwire._model import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gradwire._model import Model
    from gradwire._package import CardTensor

__all__ = ["wrap"]


def wrap(model: Model) -> Callable[..., Any]:
    """Makes a model a TensorFlow function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), are one call, which brings the derivative
    along whether a tape asks for it or not. Inside of a ``tf.function`` batch sizes may be unknown, ranks may not.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.

    Returns:
        A function of the inputs, by position or by name, that gives a tensor in the server's dtype, or
        ``{output: tensor}`` where there are several outputs. Names and shapes that do not fit raise InputError; what
        goes wrong in a call comes as TensorFlow's own error with the reason in it. Differentiated twice, it raises
        SignatureNotFound where the package has neither `hvp` nor `hessian`; three times, or by
        an input that the model has no derivative by, UsageError (TensorFlow's own in a graph, with the reason). ``tape.jacobian`` of a gradient needs
        ``experimental_use_pfor=False``, as TensorFlow cannot vectorise a call.

    Raises:
        MissingExtra: TensorFlow is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
    """
    tf = import_extra("tensorflow", "tensorflow")
    bridge = Bridge(model)
    value = _differentiable(bridge, tf)

    def function(*args: Any, **inputs: Any) -> Any:
        given = {
            name: tf.convert_to_tensor(array if tf.is_tensor(array) or _is_variable(tf, array) else np.asarray(array))
            for name, array in bind(args, inputs, bridge.names).items()
        }
        points, batch = _form(tf, bridge, given)
        count = tf.reduce_prod(batch)
        rows: dict[str, Any] = {}
        for name, array in given.items():
            shape = [count, math.prod(points.rows[name].shape[1:])]
            rows[name] = tf.reshape(array, shape) if array.shape.rank else tf.broadcast_to(array, shape)
        x = tf.concat([_wide(tf, rows[tensor.name], bridge.dtype) for tensor in bridge.wrt], -1)
        f = value(x, *[rows[tensor.name] for tensor in bridge.parameters])
        outputs = {
            tensor.name: tf.reshape(part, tf.concat([batch, points.output_form(tensor.shape)], 0))
            for tensor, part in zip(bridge.outputs, split(f, bridge.outputs), strict=True)
        }
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    function.__name__ = function.__qualname__ = model.card.name
    return tf.autograph.experimental.do_not_convert(function)  # no Python of ours depends on a tensor's value


def _differentiable(bridge: Bridge, tf: Any) -> Callable[..., Any]:  # noqa: C901 - a class or rules inside, for the framework is imported here alone; no branches
    """f(x, *parameters) on rows, ``(rows, n)`` to ``(rows, m)``, with derivatives of two orders."""
    m, n = bridge.m, bridge.n

    def call(ask: Callable[..., Any], shapes: list[tuple[int, ...]], *arrays: Any) -> list[Any]:
        def host(*given: Any) -> list[Any]:
            return listed(ask(*given))

        dtypes = [tf.as_dtype(bridge.dtype)] * len(shapes)
        found = tf.nest.flatten(tf.numpy_function(host, arrays, dtypes, stateful=False))
        return [
            tf.ensure_shape(array, (arrays[0].shape[0], *shape)) for array, shape in zip(found, shapes, strict=True)
        ]

    @tf.custom_gradient
    def value(x: Any, *parameters: Any) -> Any:
        f, df = first(x, *parameters)

        def rule(f_bar: Any) -> Any:
            x_bar = tf.einsum("bm,bmn->bn", f_bar, df)
            return [tf.cast(x_bar, x.dtype), *_nothing(tf, f_bar, parameters)]

        return f, rule

    @tf.custom_gradient
    def first(x: Any, *parameters: Any) -> Any:
        f, df = call(bridge.first, [(m,), (m, n)], x, *parameters)

        def rule(f_bar: Any, df_bar: Any) -> Any:
            bridge.require_second()
            x_bar = tf.einsum("bm,bmn->bn", f_bar, df) + pulled(x, df_bar, *parameters)
            return [tf.cast(x_bar, x.dtype), *_nothing(tf, f_bar, parameters)]

        return (f, df), rule

    # A tf.function that is differentiated twice runs the rules of these two for nothing, with zeros in one argument:
    # so a third derivative is refused when it runs, and only where it is not zero.
    def refuse(bar: Any, other: Any) -> Any:
        if bar.any() and other.any():
            raise UsageError(
                f"a third derivative of {bridge.model!r} was asked for, and a package has two: differentiate less often"
            )
        return np.zeros((len(bar), n), bridge.dtype)

    def third(bar: Any, other: Any) -> Any:
        zero = tf.numpy_function(refuse, [bar, other], tf.as_dtype(bridge.dtype), stateful=False)
        return tf.ensure_shape(zero, (bar.shape[0], n))

    @tf.custom_gradient
    def pulled(*args: Any) -> Any:
        x, df_bar, *parameters = map(tf.identity, args)  # of this graph, whichever that is
        (x_bar,) = call(bridge.pulled, [(n,)], x, df_bar, *parameters)

        def rule(bar: Any) -> Any:
            again = tf.cast(turned(x, bar, *parameters), df_bar.dtype)
            return [tf.cast(third(bar, df_bar), x.dtype), again, *_nothing(tf, bar, parameters)]

        return x_bar, rule

    @tf.custom_gradient
    def turned(*args: Any) -> Any:
        x, x_dot, *parameters = map(tf.identity, args)
        (df_dot,) = call(bridge.turned, [(m, n)], x, x_dot, *parameters)

        def rule(bar: Any) -> Any:
            zero = third(bar, bar)
            return [tf.cast(zero, x.dtype), tf.cast(zero, x_dot.dtype), *_nothing(tf, bar, parameters)]

        return df_dot, rule

    @tf.custom_gradient
    def parameter(row: Any) -> Any:
        def rule(_bar: Any) -> Any:
            names = [tensor.name for tensor in bridge.parameters]
            raise UsageError(
                f"a derivative by one of the parameters {names} of {bridge.model!r} was asked for, and the package has "
                f"none: differentiate by {[tensor.name for tensor in bridge.wrt]}, or export it with --wrt"
            )

        return tf.identity(row), rule

    def guarded(x: Any, *parameters: Any) -> Any:
        return value(x, *[parameter(row) for row in parameters])

    return guarded


def _form(tf: Any, bridge: Bridge, given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The form of the points, and their batch shape as a tensor, for some of it may be known at run time alone."""
    for name, array in given.items():
        if array.shape.rank is None:
            raise ShapeError(f"input {name!r} has a shape of unknown rank, expected a known one: set its shape")
    if all(array.shape.is_fully_defined() for array in given.values()):
        points = bridge.points({name: tuple(array.shape) for name, array in given.items()})
        return points, tf.constant(points.batch, tf.int32)
    leads = {tensor.name: _lead(tensor, given[tensor.name].shape.rank) for tensor in bridge.inputs}
    shapes = {
        tensor.name: (1,) * leads[tensor.name]
        + tuple(
            own if size is None else size
            for size, own in zip(given[tensor.name].shape[leads[tensor.name] :], tensor.shape or (1,), strict=True)
        )
        if given[tensor.name].shape.rank > leads[tensor.name]
        else (1,) * leads[tensor.name]
        for tensor in bridge.inputs
    }
    points = bridge.points(shapes)
    batches = [tf.shape(array)[: leads[name]] for name, array in given.items() if array.shape.rank or not points.batch]
    for other in batches[1:]:
        tf.debugging.assert_equal(batches[0], other, "the inputs have different batch shapes, expected the same")
    return points, batches[0]


def _lead(tensor: CardTensor, rank: int) -> int:
    """How many axes are of the batch."""
    if tensor.shape in ((), (1,)):
        return rank - 1 if rank > 1 else rank
    return max(0, rank - len(tensor.shape))


def _wide(tf: Any, rows: Any, dtype: Any) -> Any:
    """Rows in the server's dtype where that loses nothing; what would lose digits is the client's to judge."""
    own = rows.dtype.as_numpy_dtype
    return rows if np.promote_types(own, dtype) == own else tf.cast(rows, tf.as_dtype(dtype))


def _nothing(tf: Any, bar: Any, parameters: Any) -> list[Any]:
    """What flows to parameters: zeros, so that their own rule is asked and can refuse; nothing to integers."""
    count = tf.shape(bar)[0]
    return [tf.zeros([count, row.shape[-1]], row.dtype) if row.dtype.is_floating else None for row in parameters]


def _is_variable(tf: Any, array: Any) -> bool:
    return isinstance(array, tf.Variable)
