"""A model as a TensorFlow function: eager and inside tf.function, with tapes in tapes.

    log = gradwire.tensorflow.wrap(gradwire.connect("localhost:8500", "log"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        f = log(x)
    df_dx = tape.gradient(f, x)

Value and derivative come in one call, and the gradient of the value is arithmetic on the derivative, which has a
gradient of its own: second derivatives. A third derivative is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np

from gradwire._bridges import (
    Bridge,
    Form,
    FrameworkFunction,
    framework_function,
    listed,
    open_points,
    parameter_derivative,
    third_derivative,
)
from gradwire._errors import ShapeError
from gradwire._extras import import_extra
from gradwire._model import Model

__all__ = ["wrap"]


def wrap(model: Model) -> FrameworkFunction:
    """Make a model a TensorFlow function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), are one call, which includes the derivative
    whether a tape needs it or not. Inside a ``tf.function`` batch sizes may be unknown, ranks may not.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.

    Returns:
        A function of the inputs, by position or by name, that returns a tensor in the server's dtype, or
        ``{output: tensor}`` where there are several outputs. Names and shapes that do not fit raise InputError; what
        goes wrong in a call comes as TensorFlow's own error with the reason in it. Differentiated twice, it raises
        SignatureNotFound where the package has neither `hvp` nor `hessian`; three times, or with respect to an input
        that the model has no derivative for, UsageError (TensorFlow's own in a graph, with the reason).
        ``tape.jacobian`` of a gradient needs ``experimental_use_pfor=False``, as TensorFlow cannot vectorise a call.

    Raises:
        MissingExtra: TensorFlow is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
    """
    tf = import_extra("tensorflow", "tensorflow")
    bridge = Bridge(model)
    wrt = {tensor.name for tensor in bridge.wrt}

    def convert(array: Any, name: str) -> Any:
        is_tensor = tf.is_tensor(array) or isinstance(array, tf.Variable)
        tensor = tf.convert_to_tensor(array if is_tensor else np.asarray(array))
        return _widened(tf, tensor, bridge.dtype) if name in wrt else tensor

    return framework_function(
        bridge,
        tf,
        _Differentiable(bridge, tf),
        wrap=wrap,
        convert=convert,
        form=lambda arrays: _form(tf, bridge, arrays),
        decorate=tf.autograph.experimental.do_not_convert,  # no Python of ours depends on a tensor's value
    )


@final
class _Differentiable:
    """f(x, *parameters) on rows, ``(rows, n)`` to ``(rows, m)``, with derivatives of two orders."""

    def __init__(self, bridge: Bridge, tf: Any) -> None:
        self._bridge = bridge
        self._tf = tf
        self._dtype = tf.as_dtype(bridge.dtype)
        self._value = tf.custom_gradient(self._value_rule)
        self._value_and_jacobian = tf.custom_gradient(self._value_and_jacobian_rule)
        self._jacobian_vjp = tf.custom_gradient(self._jacobian_vjp_rule)
        self._jacobian_jvp = tf.custom_gradient(self._jacobian_jvp_rule)
        self._parameter = tf.custom_gradient(self._parameter_rule)

    def __call__(self, x: Any, *parameters: Any) -> Any:
        return self._value(x, *[self._parameter(row) for row in parameters])

    def _value_rule(self, x: Any, *parameters: Any) -> Any:
        f, df = self._value_and_jacobian(x, *parameters)

        def rule(f_bar: Any) -> Any:
            x_bar = self._tf.einsum("bm,bmn->bn", f_bar, df)
            return [self._tf.cast(x_bar, x.dtype), *self._zeros(f_bar, parameters)]

        return f, rule

    def _value_and_jacobian_rule(self, x: Any, *parameters: Any) -> Any:
        m, n = self._bridge.m, self._bridge.n
        f, df = self._call(self._bridge.value_and_jacobian, [(m,), (m, n)], x, *parameters)

        def rule(f_bar: Any, df_bar: Any) -> Any:
            self._bridge.require_second_derivatives()
            x_bar = self._tf.einsum("bm,bmn->bn", f_bar, df) + self._jacobian_vjp(x, df_bar, *parameters)
            return [self._tf.cast(x_bar, x.dtype), *self._zeros(f_bar, parameters)]

        return (f, df), rule

    def _jacobian_vjp_rule(self, *args: Any) -> Any:
        x, df_bar, *parameters = map(self._tf.identity, args)  # of this graph, whichever that is
        (x_bar,) = self._call(self._bridge.jacobian_vjp, [(self._bridge.n,)], x, df_bar, *parameters)

        def rule(bar: Any) -> Any:
            again = self._tf.cast(self._jacobian_jvp(x, bar, *parameters), df_bar.dtype)
            zero = self._tf.cast(self._third(bar, df_bar), x.dtype)
            return [zero, again, *self._zeros(bar, parameters)]

        return x_bar, rule

    def _jacobian_jvp_rule(self, *args: Any) -> Any:
        x, x_dot, *parameters = map(self._tf.identity, args)
        shape = (self._bridge.m, self._bridge.n)
        (df_dot,) = self._call(self._bridge.jacobian_jvp, [shape], x, x_dot, *parameters)

        def rule(bar: Any) -> Any:
            zero = self._third(bar, bar)
            cast = self._tf.cast
            return [cast(zero, x.dtype), cast(zero, x_dot.dtype), *self._zeros(bar, parameters)]

        return df_dot, rule

    def _parameter_rule(self, row: Any) -> Any:
        def rule(_bar: Any) -> Any:
            raise parameter_derivative(self._bridge)

        return self._tf.identity(row), rule

    def _call(self, function: Callable[..., Any], shapes: list[tuple[int, ...]], *arrays: Any) -> list[Any]:
        def host(*rows: Any) -> list[Any]:
            return listed(function(*rows))

        results = self._tf.numpy_function(host, arrays, [self._dtype] * len(shapes), stateful=False)
        return [
            self._tf.ensure_shape(array, (arrays[0].shape[0], *shape))
            for array, shape in zip(self._tf.nest.flatten(results), shapes, strict=True)
        ]

    def _third(self, bar: Any, other: Any) -> Any:
        """Return zeros, or raise when it runs, unless an argument is zero.

        A tf.function that is differentiated twice runs the rules of products for nothing, with zeros in one argument:
        so a third derivative is refused when it runs, and only where it is not zero.
        """

        def refuse(bar: Any, other: Any) -> Any:
            if bar.any() and other.any():
                raise third_derivative(self._bridge)
            return np.zeros((len(bar), self._bridge.n), self._bridge.dtype)

        zero = self._tf.numpy_function(refuse, [bar, other], self._dtype, stateful=False)
        return self._tf.ensure_shape(zero, (bar.shape[0], self._bridge.n))

    def _zeros(self, bar: Any, parameters: Any) -> list[Any]:
        """Gradients of parameters: zeros, so that their own rule runs and can refuse; none for integers."""
        count = self._tf.shape(bar)[0]
        return [
            self._tf.zeros([count, row.shape[-1]], row.dtype) if row.dtype.is_floating else None for row in parameters
        ]


def _form(tf: Any, bridge: Bridge, arrays: Mapping[str, Any]) -> Form:
    """The form of the points, and their batch shape: integers, or scalar tensors where a size is unknown."""
    for name, array in arrays.items():
        if array.shape.rank is None:
            raise ShapeError(f"input {name!r} has a shape of unknown rank, expected a known one: set its shape")
    if all(array.shape.is_fully_defined() for array in arrays.values()):
        points = bridge.points({name: tuple(array.shape) for name, array in arrays.items()})
        return points, points.batch
    points, n_leading = open_points(bridge, {name: tuple(array.shape) for name, array in arrays.items()})
    batches = [
        tf.shape(array)[: n_leading[name]] for name, array in arrays.items() if array.shape.rank or not points.batch
    ]
    for other in batches[1:]:
        tf.debugging.assert_equal(batches[0], other, "the inputs have different batch shapes, expected the same")
    return points, tf.unstack(batches[0])


def _widened(tf: Any, array: Any, dtype: Any) -> Any:
    """An array in the server's dtype where that loses nothing; where digits would be lost, the client decides."""
    own = array.dtype.as_numpy_dtype
    return array if np.promote_types(own, dtype) == own else tf.cast(array, tf.as_dtype(dtype))
