"""A model for SciPy: functions of one 1-D point, with exact derivatives, one call a point.

log = gradwire.scipy.wrap(gradwire.connect("localhost:8500", "log"))
scipy.optimize.minimize(log.fun_and_jac, x0, jac=True)
scipy.optimize.minimize(log.fun, x0, jac=log.jac, hessp=log.hessp, method="trust-ncg")
scipy.optimize.least_squares(log.fun, x0, jac=log.jac)
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._bridges import Bridge, LastCall, sizes
from gradwire._errors import InputNameError, ShapeError, UsageError
from gradwire._model import Model, cast, require_names

Array = NDArray[Any]

__all__ = ["Function", "wrap"]


@final
class Function:
    """A model in SciPy's form: x is one 1-D array of all differentiated inputs, in the card's order.

    ``fun`` and ``jac`` at one point are one call together, in either order: the last point's response is cached, by its
    exact bytes. It may be used from several threads.

    Args:
        bridge: the model.
        fixed: the parameters, one row each.
    """

    def __init__(self, bridge: Bridge, fixed: list[Array]) -> None:
        self._bridge = bridge
        self._fixed = fixed
        self._last = LastCall()

    def fun(self, x: ArrayLike) -> Any:
        """Return f: a float where it is scalar, else ``(m,)``.

        Args:
            x: ``(n,)``.

        Raises:
            ShapeError: x has another number of entries.
        """
        return self._value(self._value_and_jacobian(x)[0])

    def jac(self, x: ArrayLike) -> Array:
        """Return df/dx: ``(n,)`` where f is scalar, else ``(m, n)``; see ``fun``."""
        return self._jacobian(self._value_and_jacobian(x)[1])

    def fun_and_jac(self, x: ArrayLike) -> tuple[Any, Array]:
        """Return both, for ``minimize(…, jac=True)``; see ``fun``."""
        f, df = self._value_and_jacobian(x)
        return self._value(f), self._jacobian(df)

    def hess(self, x: ArrayLike, v: ArrayLike | None = None) -> Array:
        """Return d²f/dx², ``(n, n)``, from one call.

        Args:
            x: ``(n,)``.
            v: a weight for each element of f, as ``NonlinearConstraint`` passes it: the sum of the weighted matrices;
                required where f has several.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
            UsageError: f has several elements and there is no v.
            ShapeError: x or v has another number of entries.
        """
        weights = self._weights(v)
        _, _, hessian = self._last(self._bridge.value_jacobian_hessian, 3, self._point(x), *self._fixed)
        return np.tensordot(weights, hessian, 1)

    def hessp(self, x: ArrayLike, p: ArrayLike) -> Array:
        """Return d²f/dx² · p, ``(n,)``, from one call.

        Args:
            x: ``(n,)``.
            p: ``(n,)``.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
            UsageError: f has several elements.
            ShapeError: x or p has another number of entries.
        """
        weights = self._weights(None)
        point, direction = self._point(x), self._vector(p, self._bridge.n, "p")
        return self._bridge.jacobian_vjp(point, weights[:, None] * direction, *self._fixed)

    def _value_and_jacobian(self, x: ArrayLike) -> tuple[Array, Array]:
        f, df, *_ = self._last(self._bridge.value_and_jacobian, 2, self._point(x), *self._fixed)
        return f, df

    def _value(self, f: Array) -> Any:
        return float(f[0]) if self._bridge.m == 1 else f.copy()

    def _jacobian(self, df: Array) -> Array:
        return df[0].copy() if self._bridge.m == 1 else df.copy()

    def _weights(self, v: ArrayLike | None) -> Array:
        if v is not None:
            return self._vector(v, self._bridge.m, "v")
        if self._bridge.m > 1:
            raise UsageError(
                f"f has {self._bridge.m} elements, so it has as many second derivatives, expected one: give hess a "
                "weight for each, or use jac alone (least_squares needs no more)"
            )
        return np.ones(1, self._bridge.dtype)

    def _point(self, x: ArrayLike) -> Array:
        return self._vector(x, self._bridge.n, "x")

    def _vector(self, values: ArrayLike, count: int, name: str) -> Array:
        array = np.array(values, ndmin=1)  # a copy: optimisers change their arrays in place
        if array.shape != (count,):
            raise ShapeError(f"{name} has shape {array.shape}, expected ({count},): one 1-D point")
        return array


def wrap(model: Model, **fixed: Any) -> Function:
    """Make a model a function of one 1-D point.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.
        **fixed: a value for each input that the model has no derivative with respect to: one row, in the input's shape.

    Returns:
        An object with ``fun``, ``jac``, ``fun_and_jac``, ``hess`` and ``hessp``.

    Raises:
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        InputError: ``fixed`` does not name exactly the parameters, or has another shape.
    """
    bridge = Bridge(model)
    differentiated = set(fixed) & {tensor.name for tensor in bridge.wrt}
    if differentiated:
        raise InputNameError(
            f"{sorted(differentiated)} cannot be fixed, for they are parts of x: hold them by bounds, or in a function of "
            "your own"
        )
    require_names(fixed, [tensor.name for tensor in bridge.parameters])
    rows: list[Array] = []
    for tensor, size in zip(bridge.parameters, sizes(bridge.parameters), strict=True):
        row = cast(fixed[tensor.name], tensor.dtype, tensor.name)
        if row.size != size:
            raise ShapeError(f"{tensor.name!r} has shape {row.shape}, expected one row of shape {tensor.shape}")
        rows.append(row.reshape(size))
    return Function(bridge, rows)
