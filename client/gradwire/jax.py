"""A model as a JAX function: jit, grad, value_and_grad, jacfwd, jacrev, hessian and vmap, with exact derivatives.

    log = gradwire.jax.wrap(gradwire.connect("localhost:8500", "log"))
    jax.value_and_grad(log)(2.0)

Three functions build on one another, each the derivative of the one before: f; (f, df/dx); (f, df/dx, d²f/dx²). Each is
one call, its rule for tangents takes values and derivatives from one call of the next, and all else is arithmetic that
JAX itself differentiates and batches. A third derivative is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from gradwire._bridges import (
    Bridge,
    FrameworkFunction,
    framework_function,
    listed,
    parameter_derivative,
    third_derivative,
)
from gradwire._extras import import_extra
from gradwire._model import Model, check_dtype

__all__ = ["wrap"]


def wrap(model: Model) -> FrameworkFunction:
    """Make a model a JAX function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), and under ``vmap`` the whole batch, are one
    call. The dtype is the server's, float32 in place of float64 where ``jax_enable_x64`` is off. It is pickled, and
    copied, as the model.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.

    Returns:
        A function of the inputs, by position or by name, that returns an array, or ``{output: array}`` where there are
        several outputs. Shapes, dtypes and names that do not fit raise InputError when it is traced; what goes wrong in
        a call comes as JAX's own runtime error with the reason in it. Differentiated twice, it raises SignatureNotFound
        where the package has neither `hvp` nor `hessian`; three times, or with respect to an input that the model has
        no derivative for, UsageError.

    Raises:
        MissingExtra: JAX is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
    """
    jax, jnp = import_extra("jax", "jax"), import_extra("jax.numpy", "jax")
    bridge = Bridge(model)
    dtypes = {tensor.name: tensor.dtype for tensor in bridge.inputs}

    def convert(array: Any, name: str) -> Any:
        converted = jnp.asarray(array)
        check_dtype(converted.dtype.name, dtypes[name], name)
        return converted

    return framework_function(bridge, jnp, _differentiable(bridge, jax, jnp), wrap=wrap, convert=convert)


def _differentiable(bridge: Bridge, jax: Any, jnp: Any) -> Callable[..., Any]:  # noqa: C901 - rules inside, for JAX is imported here alone; no branches
    """f(x, *parameters) on rows, ``(rows, n)`` to ``(rows, m)``, with derivatives of two orders."""

    @jax.custom_jvp
    def value(x: Any, *parameters: Any) -> Any:
        (f,) = _call(jax, bridge.value, 0, bridge, x, parameters)
        return f

    @jax.custom_jvp
    def value_and_jacobian(x: Any, *parameters: Any) -> Any:
        return _call(jax, bridge.value_and_jacobian, 1, bridge, x, parameters)

    def value_jacobian_hessian(x: Any, *parameters: Any) -> Any:
        bridge.require_second_derivatives()
        return _call(jax, bridge.value_jacobian_hessian, 2, bridge, no_more(x), parameters)

    @jax.custom_jvp
    def no_more(x: Any) -> Any:
        return x

    @jax.custom_jvp
    def parameter(row: Any) -> Any:
        return row

    @value.defjvp
    def value_rule(primals: Any, tangents: Any) -> Any:
        x, *parameters = primals
        f, df = value_and_jacobian(x, *parameters)
        return f, _along(jnp, df, tangents[0])

    @value_and_jacobian.defjvp
    def jacobian_rule(primals: Any, tangents: Any) -> Any:
        x, *parameters = primals
        f, df, d2f = value_jacobian_hessian(x, *parameters)
        return (f, df), (_along(jnp, df, tangents[0]), _along(jnp, d2f, tangents[0]))

    @no_more.defjvp
    def third_rule(_primals: Any, _tangents: Any) -> Any:
        raise third_derivative(bridge)

    @parameter.defjvp
    def parameter_rule(_primals: Any, _tangents: Any) -> Any:
        raise parameter_derivative(bridge)

    def guarded(x: Any, *parameters: Any) -> Any:
        return value(x, *[parameter(row) for row in parameters])

    return guarded


def _along(jnp: Any, derivative: Any, x_dot: Any) -> Any:
    """The derivative along a tangent: its last axis summed, in its own dtype."""
    return jnp.einsum("b...n,bn->b...", derivative, x_dot.astype(derivative.dtype))


def _call(jax: Any, function: Callable[..., Any], order: int, bridge: Bridge, x: Any, parameters: Sequence[Any]) -> Any:
    """One call from inside of a trace; under ``vmap`` its batch is one call too."""
    dtype = jax.dtypes.canonicalize_dtype(bridge.dtype)
    shape = (*x.shape[:-1], bridge.m)
    shapes = [jax.ShapeDtypeStruct(shape + (bridge.n,) * i, dtype) for i in range(order + 1)]
    host = _Host(function, dtype)
    return jax.pure_callback(host, shapes, x, *parameters, vmap_method="broadcast_all")


def _widened(array: Any) -> Any:
    """Return bfloat16, which NumPy does not have, as float32, which loses nothing."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


@final
@dataclass(frozen=True, slots=True)
class _Host:
    """What JAX calls back: NumPy in, NumPy out; equal where it does the same, so that JAX can cache it."""

    function: Callable[..., Any]  # the bridge's method
    dtype: Any  # of every result

    def __call__(self, *arrays: Any) -> list[Any]:
        results = listed(self.function(*[_widened(np.asarray(array)) for array in arrays]))
        return [array.astype(self.dtype, copy=False) for array in results]
