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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._jacobian import Graph, Predictions, predict

Array: TypeAlias = "NDArray[np.float64]"

MOST_WEIGHTS: Final = 600
BLOCK_BYTES: Final = 64 * 2**20  # of a Jacobian at once
PRIOR_STEPS: Final = 100  # of a fixed point that halves its distance in a few
WEIGHTS_STREAM: Final = 8  # of random numbers, apart from those behind points, weights and splits


@final
@dataclass(frozen=True, slots=True)
class Network:
    """A network of dense layers at its fitted weights, seen as a function of some of them."""

    graph: Graph
    point: Array  # all weights
    chosen: NDArray[np.intp]  # those that vary

    @classmethod
    def of(cls, graph: Graph, point: Array) -> Network:
        """Choose the weights that vary: all, or as many as are quick to handle, at random."""
        if len(point) <= MOST_WEIGHTS:
            return cls(graph, point, np.arange(len(point)))
        generator = np.random.default_rng(np.random.SeedSequence((0, WEIGHTS_STREAM)))
        return cls(graph, point, np.sort(generator.choice(len(point), MOST_WEIGHTS, replace=False)))

    def gradients(self, x: Mapping[str, Array]) -> Iterator[tuple[slice, Predictions, Array]]:
        """Yield blocks of rows with their predictions, and the Jacobian of values and derivatives with the weights.

        The Jacobian is ``(rows, output elements, 1 + input elements, weights)``, of the value and then its derivatives.
        """
        rows, width = len(next(iter(x.values()))), sum(column.shape[1] for column in x.values())
        outputs = predict(self.graph, self.point, {name: column[:1] for name, column in x.items()}).values.shape[1]
        block = max(1, BLOCK_BYTES // (8 * outputs * (1 + width) * len(self.point)))
        for first in range(0, rows, block):
            part = slice(first, min(first + block, rows))
            made = predict(self.graph, self.point, {name: column[part] for name, column in x.items()})
            values, derivatives = made.jacobian.values, made.jacobian.derivatives
            both = np.concatenate([values[:, :, None], derivatives], axis=2)
            yield part, made, both[..., self.chosen]


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
