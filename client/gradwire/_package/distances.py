"""Distances of atoms: the domain of a model that feels neither where they lie, nor how they are turned or numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire._package.card import CardTensor

ALIKE: Final = "X"  # the species of atoms of which nothing else is known
ROUNDING: Final = 8.0  # eps of the largest coordinate: what turning a cluster may change of its distances


def sorted_distances(positions: NDArray[Any], species: Sequence[str] | None) -> dict[str, NDArray[np.float64]]:
    """Return the distances of all pairs of atoms, by the two species and in increasing order.

    Args:
        positions: ``(rows, atoms, 3)``.
        species: of every atom; None where all are alike.

    Returns:
        ``{"H-O": (rows, pairs)}``.
    """
    x = positions.astype(np.float64)
    kinds = [ALIKE] * x.shape[1] if species is None else species
    first, second = np.triu_indices(x.shape[1], 1)
    distances = np.linalg.norm(x[:, first] - x[:, second], axis=-1)
    names = ["-".join(sorted((kinds[a], kinds[b]))) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    pairs = np.array(names)
    return {pair: np.sort(distances[:, pairs == pair], axis=1) for pair in dict.fromkeys(names)}


def beyond_distances(tensor: CardTensor, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows have a distance that the samples did not cover, ``(rows,)``.

    Args:
        tensor: an input that has ``distances``.
        rows: ``(rows, atoms, 3)`` or flat.

    Raises:
        UsageError: the card's distances are not those of so many atoms.
    """
    x = rows.astype(np.float64).reshape(len(rows), -1, 3)
    eps = float(np.finfo(np.float64 if tensor.dtype == "float64" else np.float32).eps)
    slack = ROUNDING * eps * np.abs(x).max(axis=(1, 2), initial=0.0)[:, None]
    known, beyond = tensor.distances or {}, np.zeros(len(x), bool)
    for pair, distances in sorted_distances(x, tensor.species).items():
        try:
            lower, upper = (
                np.asarray(bound, np.float64).reshape(distances.shape[1])
                for bound in (known[pair].lower, known[pair].upper)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"the card has no {distances.shape[1]} distances {pair!r} of {tensor.name!r}: export it again"
            ) from error
        beyond |= ~((distances >= lower - slack) & (distances <= upper + slack)).all(axis=1)
    return beyond
