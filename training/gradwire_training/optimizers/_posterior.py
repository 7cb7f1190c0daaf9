r"""The most probable weights of a network, and the precisions of noise and priors that make the labels most probable.

The residuals r_t of a term t of the loss are noise of precision :math:`\beta_t`, the weights p_g of a group g have a
Gaussian prior of precision :math:`\alpha_g`. With both, the logarithm of the labels' probability is (MacKay, Neural
Computation 4 (1992) 415-447 and 448-472), up to a constant,

.. math:: E = -\tfrac{1}{2} \Big[ \sum_t \beta_t |r_t|^2 + \sum_g \alpha_g |p_g|^2 + \log \det A
              - \sum_t m_t \log \beta_t - \sum_g n_g \log \alpha_g \Big], \qquad
          A = \sum_t \beta_t J_t^T J_t + \mathrm{diag}(\alpha),

for m_t residuals and n_g weights. It is largest where, with the covariance :math:`S = A^{-1}`,

.. math:: \alpha_g = \frac{\gamma_g}{|p_g|^2}, \quad \gamma_g = n_g - \alpha_g \operatorname{tr} S_{gg}, \qquad
          \beta_t = \frac{m_t - \gamma_t}{|r_t|^2}, \quad \gamma_t = \beta_t \operatorname{tr}(S J_t^T J_t).

A group is what leaves one unit, or one input: one that helps no prediction loses its weights, and so the network has
the size that the labels bear (automatic relevance determination; MacKay, ASHRAE Transactions 100 (1994) 1053-1062). A
term whose labels are noisier than others' counts less than they do, so that values and derivatives need no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from gradwire_training._jacobian import Residuals
from gradwire_training.optimizers._damped import solve
from gradwire_training.optimizers._damping import Damping

Array: TypeAlias = "NDArray[np.float64]"

NOISE: Final = 0.1  # at the start, of the residuals there: less would let a fit follow noise before any is estimated
LIMIT: Final = 1e8  # of alpha, and of 1 / alpha: a group that has lost its weights
LEAST: Final = 0.01  # of a term's residuals: degrees of freedom that they keep, though gamma may reach their number
LEAST_GAMMA: Final = 1e-3
FEWEST: Final = 3  # steps taken from one estimate to the next
MOST: Final = 10
SMALL: Final = 0.05  # fraction of what is made small: after a step that gains less, an estimate is due
PATIENCE: Final = 10  # estimates without more evidence
GAIN: Final = 0.2  # of the evidence, a logarithm: less is no reason to prefer anything


@final
class Posterior:
    """A descent to the most probable weights, one step at a time, with the precisions estimated on the way.

    Args:
        residuals: of the fit.
        point: where it starts.
        groups: of which group each weight is, from 0.
        damping: of the first step, in units of the mean of A's diagonal.

    Attributes:
        point: the weights.
        loss: the residuals' sum of squares there.
        mae: the mean absolute error of the known values there.
        evidence: the largest E of all estimates; minus infinity before any.
        best: the weights there. Later estimates may lose it again, since E is that of a model which is linear at a
            point that moves with them.
        known: how many weights the labels tell: the sum of gamma there; all of them before any estimate.
    """

    def __init__(self, residuals: Residuals, point: Array, groups: NDArray[np.intp], *, damping: float) -> None:
        self._residuals = residuals
        self._groups = groups
        self._sizes = np.bincount(groups).astype(np.float64)
        self._counts = np.array(residuals.terms, dtype=np.float64)
        self.point = point
        self._losses, self.mae = self._losses_at(point)
        self._alpha = np.ones(len(self._sizes))
        self._beta = self._counts / np.maximum(NOISE**2 * self._losses, np.finfo(float).tiny)
        self._linearize()
        self._damping = Damping(damping, unit=float(np.mean(np.diag(self._matrix()))))
        self._taken = 0  # steps since the last estimate
        self.evidence, self.best, self.known = -math.inf, point, float(len(point))
        self._since = 0  # estimates since the evidence gained

    @property
    def loss(self) -> float:
        """The residuals' sum of squares."""
        return float(self._losses.sum())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to gain."""
        return self._damping.is_stuck or self._since >= PATIENCE

    def noise(self) -> list[float]:
        """Return the standard deviation of each term's residuals, as estimated."""
        return (1 / np.sqrt(self._beta)).tolist()

    def step(self) -> None:
        """Try one step, take it if it gains, and estimate the precisions where that is due."""
        matrix, prior = self._matrix(), self._alpha[self._groups]
        right = -(self._beta @ self._gradients + prior * self.point)
        gained = 0.0
        if (step := solve(matrix, self._damping.mu, right)) is not None:
            point = self.point + step
            losses, mae = self._losses_at(point)
            gained = self._total(self._losses, self.point) - self._total(losses, point)
            predicted = float(step @ (2 * right - matrix @ step))
            if gained > 0 and predicted > 0:
                self.point, self._losses, self.mae = point, losses, mae
                self._damping.accept(gained=gained, predicted=predicted)
                self._linearize()
                self._taken += 1
            else:
                gained = 0.0
        if not gained:
            self._damping.reject()
        is_small = gained < SMALL * self._total(self._losses, self.point)
        if self._taken >= MOST or (self._taken >= FEWEST and is_small):
            self._estimate()

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs, beside the point."""
        precisions = {"alpha": self._alpha, "beta": self._beta, "taken": self._taken}
        best = {"evidence": self.evidence, "best": self.best, "known": self.known, "since": self._since}
        return {**self._damping.state(), **precisions, **best}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned at this point."""
        self._damping.resume(state)
        self._alpha, self._beta, self.best = (np.array(state[name]) for name in ("alpha", "beta", "best"))
        self._taken, self._since = int(state["taken"]), int(state["since"])
        self.evidence, self.known = float(state["evidence"]), float(state["known"])

    def _estimate(self) -> None:
        """Estimate the precisions anew, and remember the point if those before have the largest evidence."""
        self._taken = 0
        factor, failed = lapack.dpotrf(self._matrix(), lower=1)
        if failed:  # by rounding: steps bring it to where it is definite again
            return
        logarithm = 2 * float(np.sum(np.log(np.diag(factor))))
        lower, _ = lapack.dpotri(factor, lower=1)
        covariance = np.tril(lower) + np.tril(lower, -1).T
        precisions = float(self._counts @ np.log(self._beta) + self._sizes @ np.log(self._alpha))
        evidence = 0.5 * (precisions - self._total(self._losses, self.point) - logarithm)
        variances = np.bincount(self._groups, np.diag(covariance))
        gamma = np.clip(self._sizes - self._alpha * variances, LEAST_GAMMA, self._sizes)
        self._since = 0 if evidence > self.evidence + GAIN else self._since + 1
        if evidence > self.evidence:
            self.evidence, self.best, self.known = evidence, self.point, float(gamma.sum())
        squares = np.bincount(self._groups, self.point**2)
        fitted = self._beta * [float(np.vdot(covariance, gram)) for gram in self._grams]
        self._alpha = np.clip(gamma / np.maximum(squares, np.finfo(float).tiny), 1 / LIMIT, LIMIT)
        free = np.maximum(self._counts - fitted, LEAST * self._counts)
        self._beta = free / np.maximum(self._losses, np.finfo(float).tiny)

    def _linearize(self) -> None:
        """Compute J^T J and J^T r of every term; the Jacobian is never whole in memory."""
        terms, weights = len(self._counts), self._residuals.weights
        self._grams, self._gradients = np.zeros((terms, weights, weights)), np.zeros((terms, weights))
        for parts in self._residuals.parts(self.point):
            for term, (errors, jacobian) in enumerate(parts):
                self._grams[term] += jacobian.T @ jacobian
                self._gradients[term] += errors @ jacobian

    def _matrix(self) -> Array:
        matrix = np.tensordot(self._beta, self._grams, 1)
        matrix.ravel()[:: len(matrix) + 1] += self._alpha[self._groups]
        return matrix

    def _losses_at(self, point: Array) -> tuple[Array, float]:
        errors, mae = self._residuals.at(point)
        parts = np.split(errors, np.cumsum(self._residuals.terms)[:-1])
        return np.array([part @ part for part in parts]), mae

    def _total(self, losses: Array, point: Array) -> float:
        return float(self._beta @ losses + self._alpha[self._groups] @ point**2)


def groups_of(trainable: Sequence[Any]) -> NDArray[np.intp]:
    """Return the group of every trained weight: of a kernel, what leaves each unit; of others, the whole variable."""
    groups: list[NDArray[np.intp]] = []
    first = 0
    for variable in trainable:
        rows, *others = variable.shape
        count, each = (rows, others[0]) if len(others) == 1 else (1, math.prod(variable.shape))
        groups.append(np.repeat(np.arange(first, first + count), each))
        first += count
    return np.concatenate(groups)
