r"""Misfit, which no weights of a network remove, told from the noise of labels by its smoothness.

Errors on fitted rows that are noise are independent from row to row; where neighbouring rows have like errors, the
network lacks what the function has (model inadequacy; Kennedy and O'Hagan, Journal of the Royal Statistical Society B
63 (2001) 425-464). So the likelihood of the errors under

.. math:: N(0, v [(1 - \rho) I + \rho K]), \qquad K_{ij} = \exp(-|x_i - x_j|^2 / 2 \ell^2)

is averaged over what fraction :math:`\rho` of their variance is misfit and how far it reaches, and compared with that
of noise alone. What a flexible network has fitted leaves errors that are less alike than chance has it, so that it
never looks like misfit. The derivative of misfit has the variance :math:`\rho v / \ell^2`, less than the true one: on
25 fits of too small networks its root was 0.7 of the derivatives' errors (with a Matérn kernel of one derivative 0.76,
and no better bars).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

Array: TypeAlias = "NDArray[np.float64]"

MOST_ROWS: Final = 300  # more tell nothing new, and a decomposition costs their cube
FEWEST_ROWS: Final = 8
EVIDENCE: Final = 3.0  # logarithm of the odds of misfit against noise alone that count as seen: 20 to 1
FRACTIONS: Final = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995])
REACHES: Final = np.array([0.15, 0.25, 0.4, 0.6, 1.0, 1.6])  # in units of each input's spread


@final
@dataclass(frozen=True, slots=True)
class Misfit:
    """How much of the errors' variance is misfit, and how rough that is.

    Attributes:
        fraction: of each kind of labels, ``(output elements, 1 + input elements)``; 0 where none is seen.
        roughness: the variance of its derivative over its own, ``(output elements, input elements)``.
    """

    fraction: Array
    roughness: Array

    @classmethod
    def of(cls, x: Array, errors: Array) -> Misfit:
        """Look for misfit in the errors on fitted rows.

        Args:
            x: the rows, ``(rows, input elements)``.
            errors: of each label, ``(rows, output elements, 1 + input elements)``; NaN for none.
        """
        x, errors = x[:MOST_ROWS], errors[:MOST_ROWS]
        spread = x.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        fraction = np.zeros(errors.shape[1:])
        roughness = np.zeros((errors.shape[1], x.shape[1]))
        kernels: dict[bytes, list[tuple[Array, Array]]] = {}
        for element, kind in np.ndindex(*fraction.shape):
            error = errors[:, element, kind]
            known = np.isfinite(error)
            size = np.sqrt(np.mean(error[known] ** 2)) if known.any() else 0.0
            if known.sum() < FEWEST_ROWS or not size:
                continue
            if known.tobytes() not in kernels:
                kernels[known.tobytes()] = list(_kernels((x / spread)[known]))
            likelihoods = _likelihoods(kernels[known.tobytes()], error[known] / size)
            if logsumexp(likelihoods) - np.log(likelihoods.size) < EVIDENCE:
                continue
            weights = np.exp(likelihoods - logsumexp(likelihoods))
            fraction[element, kind] = (weights @ FRACTIONS).sum()
            if not kind:
                roughness[element] = (weights.sum(axis=1) / REACHES**2).sum() / spread**2
        return cls(fraction, roughness)


def _kernels(x: Array) -> Iterator[tuple[Array, Array]]:
    """Yield eigenvalues and eigenvectors of each reach's kernel."""
    distances = cdist(x, x)
    for reach in REACHES:
        eigenvalues, vectors = np.linalg.eigh(np.exp(-0.5 * (distances / reach) ** 2))
        yield np.maximum(eigenvalues, 0.0), vectors


def _likelihoods(kernels: list[tuple[Array, Array]], errors: Array) -> Array:
    """Return the logarithms of likelihoods over that of noise alone, ``(reaches, fractions)``."""
    rows: list[Array] = []
    for eigenvalues, vectors in kernels:
        variances = FRACTIONS[:, None] * eigenvalues + 1 - FRACTIONS[:, None]
        rows.append(-0.5 * np.sum(np.log(variances) + (vectors.T @ errors) ** 2 / variances, axis=1))
    return np.array(rows) + 0.5 * float(errors @ errors)
