"""A model for SciPy: functions of one 1-D point, with exact derivatives in float64, one call a point.

log = gradwire.scipy.wrap(gradwire.connect("localhost:8500", "log"))
scipy.optimize.minimize(log.fun_and_jac, x0, jac=True, bounds=log.bounds)
scipy.optimize.minimize(log.fun, x0, jac=log.jac, hessp=log.hessp, method="trust-ncg")
scipy.optimize.least_squares(log.fun, x0, jac=log.jac)
scipy.optimize.differential_evolution(log.fun, log.bounds, vectorized=True)
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._bridges import Bridge, LastCall, read_fixed
from gradwire._errors import ShapeError, UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire._package import Box

Array = NDArray[np.float64]

__all__ = ["Function", "wrap"]


@final
class Function:
    """A model in SciPy's form: x is one 1-D array of all inputs that vary, in the card's order.

    Everything is float64, as SciPy's compiled optimisers require, whatever the dtype of the package; the precision is
    the package's. ``fun`` and ``jac`` at one point are one call together, in either order: the last point's response is
    cached, by its exact bytes. It may be used from several threads, and is pickled as the model's address.

    Args:
        bridge: the model.
        fixed: the inputs that do not vary, one row each.
    """

    def __init__(self, bridge: Bridge, fixed: list[NDArray[Any]]) -> None:
        self._bridge = bridge
        self._fixed = fixed
        self._last = LastCall()

    @property
    def bounds(self) -> Any:
        """The domain on the card as ``scipy.optimize.Bounds`` of x; infinite where the card has none."""
        boxes = [Box.of_card(tensor, (-np.inf, np.inf)) for tensor in self._bridge.wrt]
        lower, upper = (np.concatenate([bound.reshape(-1) for bound in side]) for side in zip(*boxes, strict=True))
        return import_extra("scipy.optimize", "scipy").Bounds(lower, upper)

    def fun(self, x: ArrayLike) -> Any:
        """Return f.

        Args:
            x: ``(n,)``, or ``(n, points)``, in the form of ``differential_evolution(vectorized=True)``; one number will
                do where n is 1.

        Returns:
            Of one point a float where f is scalar, else ``(m,)``; of several ``(points,)`` or ``(m, points)``.

        Raises:
            ShapeError: x has another number of entries.
        """
        if np.ndim(x) > 1:
            f = self._bridge.value(*self._points(x)).astype(np.float64).T
            return f[0] if self._bridge.m == 1 else f
        return self._value(self._value_and_jacobian(x)[0])

    def jac(self, x: ArrayLike) -> Any:
        """Return df/dx.

        Args:
            x: as in ``fun``.

        Returns:
            Of one point ``(n,)`` where f is scalar, else ``(m, n)``; of several ``(n, points)`` or ``(m, n, points)``;
            a float where x is one number and f is scalar.

        Raises:
            ShapeError: x has another number of entries.
        """
        if np.ndim(x) > 1:
            _, df = self._bridge.value_and_jacobian(*self._points(x))
            df = np.moveaxis(df.astype(np.float64), 0, -1)
            return df[0] if self._bridge.m == 1 else df
        return self._jacobian(x, self._value_and_jacobian(x)[1])

    def fun_and_jac(self, x: ArrayLike) -> tuple[Any, Any]:
        """Return both at one point, for ``minimize(…, jac=True)``; see ``fun`` and ``jac``."""
        f, df = self._value_and_jacobian(x)
        return self._value(f), self._jacobian(x, df)

    def hess(self, x: ArrayLike, v: ArrayLike | None = None) -> Any:
        """Return d²f/dx², from one call.

        Args:
            x: ``(n,)``; one number will do where n is 1.
            v: a weight for each element of f, as ``NonlinearConstraint`` passes it: the sum of the weighted matrices;
                required where f has several.

        Returns:
            ``(n, n)``; a float where x is one number.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
            UsageError: f has several elements and there is no v.
            ShapeError: x or v has another number of entries.
        """
        weights = self._weights(v)
        _, _, hessian = self._last(self._bridge.value_jacobian_hessian, 3, self._point(x), *self._fixed)
        total = np.tensordot(weights, hessian, 1)
        return total if np.ndim(x) else float(total[0, 0])

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
        product = self._bridge.jacobian_vjp(point, weights[:, None] * direction, *self._fixed)
        return product.astype(np.float64)

    def _value_and_jacobian(self, x: ArrayLike) -> tuple[Array, Array]:
        f, df, *_ = self._last(self._bridge.value_and_jacobian, 2, self._point(x), *self._fixed)
        return f, df

    def _value(self, f: Array) -> Any:
        return float(f[0]) if self._bridge.m == 1 else f.astype(np.float64)  # a copy: the caller's own

    def _jacobian(self, x: ArrayLike, df: Array) -> Any:
        if self._bridge.m > 1:
            return df.astype(np.float64)
        return df[0].astype(np.float64) if np.ndim(x) else float(df[0, 0])

    def _weights(self, v: ArrayLike | None) -> Array:
        if v is not None:
            return self._vector(v, self._bridge.m, "v")
        if self._bridge.m > 1:
            raise UsageError(
                f"f has {self._bridge.m} elements, so it has as many second derivatives, expected one: give hess a "
                "weight for each, or use jac alone (least_squares needs no more)"
            )
        return np.ones(1)

    def _point(self, x: ArrayLike) -> Array:
        return self._vector(x, self._bridge.n, "x")

    def _points(self, x: ArrayLike) -> list[NDArray[Any]]:
        """Return the columns of x as rows, and every fixed input for each of them."""
        array = np.asarray(x)
        if array.ndim != 2 or len(array) != self._bridge.n:  # noqa: PLR2004 - entries and points
            raise ShapeError(f"x has shape {array.shape}, expected ({self._bridge.n}, points) or one 1-D point")
        count = array.shape[1]
        return [array.T, *(np.broadcast_to(row, (count, row.size)) for row in self._fixed)]

    def _vector(self, values: ArrayLike, count: int, name: str) -> NDArray[Any]:
        array = np.array(values, ndmin=1)  # a copy: optimisers change their arrays in place
        if array.shape != (count,):
            raise ShapeError(f"{name} has shape {array.shape}, expected ({count},): one 1-D point")
        return array


def wrap(model: Model, /, *, of: str | None = None, **fixed: Any) -> Function:
    """Make a model a function of one 1-D point.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.
        of: the output that is f, of a model with several; by default all of them, joined.
        **fixed: a value for each input that does not vary: one row, in the input's shape. Inputs that the model has no
            derivative with respect to are always fixed; of the others, those that are not given are x. (An input of the
            name ``of`` cannot be fixed here: fix it in a function of your own.)

    Returns:
        An object with ``fun``, ``jac``, ``fun_and_jac``, ``hess``, ``hessp`` and ``bounds``.

    Raises:
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        UsageError: there is no such output, or every input is fixed.
        InputError: ``fixed`` lacks a parameter, names an unknown input, or has another shape.
    """
    bridge = Bridge(model, fixed=frozenset(fixed), of=of)
    return Function(bridge, read_fixed(bridge, fixed))
