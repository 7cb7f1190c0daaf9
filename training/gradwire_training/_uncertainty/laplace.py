r"""The variance of a network's predictions by a Laplace approximation, up to two factors that labels decide.

Around fitted weights p a network is nearly linear in them: with the Jacobian rows g of the prediction at a point and J
of the fitted labels, each divided by the size of its error, the posterior of a Gaussian prior on p gives

.. math:: \mathrm{var}\, f(x) = s^2 \, g (J^T J + \lambda I)^{-1} g^T,

(MacKay, Neural Computation 4 (1992) 448-472; with J^T J in place of the Hessian, Foresee and Hagan, IJCNN 1997). A
derivative is as linear in p as the value, so that its variance has the same form with its own row g. All of it is
diagonal in the eigenvectors of J^T J, so that any :math:`\lambda` is tried at the cost of a weighted sum.

Of many weights a random few stand for all (Daxberger et al., ICML 2021, choose such a subnetwork otherwise): on ten
problems 600 of up to 1,441 weights gave the same coverage as all of them, in a tenth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

PRIOR_STEPS: Final = 100  # of a fixed point that halves its distance in a few


@final
@dataclass(frozen=True, slots=True)
class Spectrum:
    """J^T J of the fitted labels in its eigenvectors."""

    eigenvalues: Array  # (weights,)
    vectors: Array  # (weights, weights)
    uneven: Array | None = None  # (weights, weights): what takes the place of J^T J where noise differs from row to row

    @classmethod
    def of(cls, matrix: Array) -> Spectrum:
        """Decompose a symmetric matrix that has no negative eigenvalue but by rounding."""
        eigenvalues, vectors = np.linalg.eigh(matrix)
        return cls(np.maximum(eigenvalues, 0.0), vectors)

    def prior(self, weights: Array) -> float:
        """Return the precision of the Gaussian prior that explains the fitted weights best.

        Only what labels determine tells it, for a fit shrinks the rest (the evidence's fixed point, MacKay, 1992).
        """
        size = max(float(weights @ weights), np.finfo(float).tiny)
        precision = len(weights) / size
        for _ in range(PRIOR_STEPS):
            determined = float((self.eigenvalues / (self.eigenvalues + precision)).sum())
            precision = max(determined / size, np.finfo(float).tiny)
        return precision

    def with_scores(self, matrix: Array) -> Spectrum:
        """Return the same for labels whose noise differs from row to row, with the sum of their outer products."""
        return replace(self, uneven=self.vectors.T @ matrix @ self.vectors)

    def components(self, gradients: Array) -> Array:
        """Return the components of Jacobian rows along the eigenvectors, the weights as last axis."""
        return gradients @ self.vectors

    def variances(self, components: Array, ridge: float) -> Array:
        """Return g (J^T J + ridge)^-1 g^T of Jacobian rows with such components, or that of the sandwich."""
        if self.uneven is None:
            return components**2 @ (1 / (self.eigenvalues + ridge))
        solved = components / (self.eigenvalues + ridge)
        return np.sum((solved @ self.uneven + ridge * solved) * solved, axis=-1)
