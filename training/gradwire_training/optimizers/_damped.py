r"""Gauss-Newton's equations with damping, solved by Cholesky in whichever of two forms is smaller.

With residuals r, Jacobian J, weights p, ridge :math:`\lambda` and damping :math:`\mu`, the step h makes

.. math:: |r + J h|^2 + \lambda |p + h|^2 + \mu |h|^2

smallest. With :math:`t = \lambda + \mu` that is, for as many residuals as weights or more (the primal form),

.. math:: (J^T J + t I) h = -(J^T r + \lambda p),

and for fewer residuals than weights (the dual form, by the push-through identity),

.. math:: h = -J^T (J J^T + t I)^{-1} (r - \tfrac{\lambda}{t} J p) - \tfrac{\lambda}{t} p .
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from typing_extensions import override

from gradwire_training._jacobian import Residuals

Array: TypeAlias = "NDArray[np.float64]"


class Damped(ABC):
    """The equations at one point."""

    gram: Array  # J J^T or J^T J

    @abstractmethod
    def step(self, ridge: float, damping: float) -> Array | None:
        """Return the step; None where rounding made the matrix indefinite: more damping helps."""

    @abstractmethod
    def predicted(self, step: Array, ridge: float) -> float:
        """Return by how much the linearised sum of squares, ridge included, falls in a step."""

    def spectrum(self) -> Array:
        """Return the eigenvalues of J J^T that are not zero (and some that are)."""
        return np.maximum(np.linalg.eigvalsh(self.gram), 0.0)


def damped_at(residuals: Residuals, point: Array) -> Damped:
    """Build the equations at a point, in the form that is smaller."""
    if residuals.count < residuals.weights:
        blocks = list(residuals.blocks(point))
        if len(blocks) == 1:  # nothing to copy
            return Dual(*blocks[0], point)
        errors, jacobians = zip(*blocks, strict=True)
        return Dual(np.concatenate(errors), np.concatenate(jacobians), point)
    return Primal(residuals, point)


@final
class Dual(Damped):
    """For fewer residuals than weights."""

    def __init__(self, residuals: Array, jacobian: Array, point: Array) -> None:
        self._residuals = residuals
        self._jacobian = jacobian
        self._point = point
        self.gram = jacobian @ jacobian.T

    @override
    def step(self, ridge: float, damping: float) -> Array | None:
        fraction = ridge / (ridge + damping)
        right = self._residuals - fraction * (self._jacobian @ self._point) if fraction else self._residuals
        solved = solve(self.gram, ridge + damping, right)
        if solved is None:
            return None
        step = -(solved @ self._jacobian)
        return step - fraction * self._point if fraction else step

    @override
    def predicted(self, step: Array, ridge: float) -> float:
        moved = self._jacobian @ step
        return -float(moved @ (2 * self._residuals + moved)) - _ridge_change(self._point, step, ridge)


@final
class Primal(Damped):
    """For as many residuals as weights, or more; the Jacobian is never whole in memory."""

    def __init__(self, residuals: Residuals, point: Array) -> None:
        self._point = point
        self.gram = np.zeros((residuals.weights, residuals.weights))
        self._gradient = np.zeros(residuals.weights)
        for errors, jacobian in residuals.blocks(point):
            self.gram += jacobian.T @ jacobian
            self._gradient += errors @ jacobian

    @override
    def step(self, ridge: float, damping: float) -> Array | None:
        solved = solve(self.gram, ridge + damping, self._gradient + ridge * self._point)
        return None if solved is None else -solved

    @override
    def predicted(self, step: Array, ridge: float) -> float:
        change = float(step @ (2 * self._gradient + self.gram @ step))
        return -change - _ridge_change(self._point, step, ridge)


def _ridge_change(point: Array, step: Array, ridge: float) -> float:
    return ridge * float(step @ (2 * point + step))


def solve(gram: Array, shift: float, right: Array) -> Array | None:
    """Solve (gram + shift I) x = right by Cholesky; None where the matrix is not positive definite."""
    matrix = gram.copy()
    matrix.ravel()[:: len(matrix) + 1] += shift
    # LAPACK's own routines: their wrappers' checks take longer than a small factorisation. A symmetric matrix is its
    # transpose, which has LAPACK's order of memory.
    factor, failed = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        return None
    solved, _ = lapack.dpotrs(factor, right, lower=1)
    return solved
