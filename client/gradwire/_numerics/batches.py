"""The same rows in other batches: does a row's result depend on its neighbours?

TensorFlow picks other kernels, and so other orders of summation, for other batch sizes: eight good models moved by up
to 4.3 eps of their scale, fourteen coupled ones by far more than 32 (measured, docs/verification.md). So equality bit
by bit is the wrong test, and ``ALLOWED_EPS`` the right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics.compare import Comparison, compare
from gradwire._numerics.points import Arrays

ALLOWED_EPS: Final = 32.0  # of a tensor's scale, its largest magnitude over all rows


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a whole, among others or alone."""

    label: str  # ``"beside NaN"``
    rows: dict[str, NDArray[Any]]  # ``(batch, *row)`` by input
    places: NDArray[np.intp]  # where in this batch the rows to compare stand, ``(n,)``
    origins: NDArray[np.intp]  # where the same rows stand in the whole, ``(n,)``

    @classmethod
    def part(cls, label: str, whole: Arrays, origins: Any) -> Batch:
        """Take some rows of the whole, in the order of ``origins``, and no others."""
        origins = np.asarray(origins)
        return cls(label, {name: array[origins] for name, array in whole.items()}, np.arange(len(origins)), origins)

    @classmethod
    def beside(cls, label: str, whole: Arrays, origins: Any, neighbours: Arrays) -> Batch:
        """Put some rows of the whole where they stand, among neighbours everywhere else."""
        origins = np.asarray(origins)
        rows = {name: array.copy() for name, array in neighbours.items()}
        for name, array in rows.items():
            array[origins] = whole[name][origins]
        return cls(label, rows, origins, origins)

    def compare(self, whole: Arrays, outputs: Arrays, dtypes: Mapping[str, str] | None = None) -> dict[str, Comparison]:
        """Compare this batch's floating-point outputs with those of the whole, at the rows that both have.

        The scale is that of all rows, for a single row may be near zero; for ``dtypes`` see ``compare``.
        """
        comparisons: dict[str, Comparison] = {}
        for name, array in outputs.items():
            if array.dtype.kind == "f":
                replaced = whole[name].copy()
                replaced[self.origins] = array[self.places]
                comparisons[name] = compare(replaced, whole[name], (dtypes or {}).get(name, ""))
        return comparisons


def poisoned(rows: Arrays) -> dict[str, NDArray[Any]]:
    """Return rows of NaN in the place of floating-point ones; integers as they are."""
    return {name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array for name, array in rows.items()}
