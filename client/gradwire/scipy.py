"""A model for SciPy: functions of one 1-D point, with exact derivatives, one call a point.

log = gradwire.scipy.wrap(gradwire.connect("localhost:8500", "log"))
scipy.optimize.minimize(log.fun_and_jac, x0, jac=True)
scipy.optimize.minimize(log.fun, x0, jac=log.jac, hessp=log.hessp, method="trust-ncg")
scipy.optimize.least_squares(log.fun, x0, jac=log.jac)
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from gradwire._bridges import Bridge, sizes
from gradwire._errors import InputNameError, ShapeError, UsageError
from gradwire._model import cast, require_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradwire._model import Model

    Array = NDArray[Any]

__all__ = ["Function", "wrap"]


class _Answer(NamedTuple):
    """What is known of a point; hess is None until it was asked for."""

    key: bytes
    f: Array
    df: Array
    hess: Array | None


@final
class Function:
    """A model as SciPy wants it: x is one 1-D array of all differentiated inputs, in the card's order.

    ``fun`` and ``jac`` at one point are one call together, in either order: the last point's answer is kept, by its
    exact bytes. It may be used from several threads.

    Args:
        bridge: the model.
        fixed: the parameters, one row each.
    """

    def __init__(self, bridge: Bridge, fixed: list[Array]) -> None:
        self._bridge = bridge
        self._fixed = fixed
        self._last: _Answer | None = None
        self._lock = threading.Lock()

    def fun(self, x: ArrayLike) -> Any:
        """Computes f: a float where the model has one number, else ``(m,)``."""
        return self._shown(self._first(x).f)

    def jac(self, x: ArrayLike) -> Array:
        """Computes df/dx: ``(n,)`` where the model has one number, else ``(m, n)``."""
        return self._jacobian(self._first(x))

    def fun_and_jac(self, x: ArrayLike) -> tuple[Any, Array]:
        """Computes both, for ``minimize(…, jac=True)``."""
        found = self._first(x)
        return self._shown(found.f), self._jacobian(found)

    def hess(self, x: ArrayLike, v: ArrayLike | None = None) -> Array:
        """Computes d²f/dx², ``(n, n)``, in one call.

        Args:
            x: ``(n,)``.
            v: a weight for each number of f, as ``NonlinearConstraint`` gives it: the sum of the weighted matrices;
                needed where f has several.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
            UsageError: f has several numbers and there is no v.
            ShapeError: x or v has another number of entries.
        """
        weights = self._weights(v)
        point = self._point(x)
        key = point.tobytes()
        last = self._last
        hess = last.hess if last is not None and last.key == key else None
        if hess is None:
            f, df, hess = self._bridge.second(point, *self._fixed)
            self._last = _Answer(key, f, df, hess)
        return np.tensordot(weights, hess, 1)

    def hessp(self, x: ArrayLike, p: ArrayLike) -> Array:
        """Computes d²f/dx² · p, ``(n,)``, in one call.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
            UsageError: f has several numbers.
            ShapeError: x or p has another number of entries.
        """
        weights = self._weights(None)
        point, direction = self._point(x), self._vector(p, self._bridge.n, "p")
        return self._bridge.pulled(point, weights[:, None] * direction, *self._fixed)

    def _first(self, x: ArrayLike) -> _Answer:
        point = self._point(x)
        key = point.tobytes()
        with self._lock:  # two threads at one point ask once
            if self._last is None or self._last.key != key:
                self._last = _Answer(key, *self._bridge.first(point, *self._fixed), None)
            return self._last

    def _shown(self, f: Array) -> Any:
        return float(f[0]) if self._bridge.m == 1 else f.copy()

    def _jacobian(self, found: _Answer) -> Array:
        return found.df[0].copy() if self._bridge.m == 1 else found.df.copy()

    def _weights(self, v: ArrayLike | None) -> Array:
        if v is not None:
            return self._vector(v, self._bridge.m, "v")
        if self._bridge.m > 1:
            raise UsageError(
                f"f has {self._bridge.m} numbers, so it has as many second derivatives, expected one: give hess a weight "
                "for each, or take jac alone (least_squares needs no more)"
            )
        return np.ones(1, self._bridge.dtype)

    def _point(self, x: ArrayLike) -> Array:
        return self._vector(x, self._bridge.n, "x")

    def _vector(self, given: ArrayLike, count: int, name: str) -> Array:
        array = np.array(given, ndmin=1)  # a copy: optimisers change their arrays in place
        if array.shape != (count,):
            raise ShapeError(f"{name} has shape {array.shape}, expected ({count},): one 1-D point")
        return array


def wrap(model: Model, **fixed: Any) -> Function:
    """Makes a model a function of one 1-D point.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.
        **fixed: a value for each input that the model has no derivative by: one row, in the input's shape.

    Returns:
        An object with ``fun``, ``jac``, ``fun_and_jac``, ``hess`` and ``hessp``.

    Raises:
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        InputError: what is fixed is not exactly the parameters, or has another shape.
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
