"""Whether a model of atoms feels neither where they lie, nor how they are turned or numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
import numpy as np

from gradwire_training._data import Table
from gradwire_training._fit.evaluation import evaluate
from gradwire_training._models import BoundTensor, IoBinding, is_of_atoms, with_dtype

ROWS: Final = 8
TOLERANCE: Final = 1e-9  # of the outputs' size, in float64
INVARIANCE_STREAM: Final = 11  # of random numbers, apart from those behind points, weights and splits


def feels_distances_alone(
    model: keras.Model, binding: IoBinding, x: Table, tensor: BoundTensor, species: Sequence[str] | None
) -> bool:
    """Return whether the outputs stay the same where atoms are turned, mirrored, moved, and numbered otherwise.

    Of an input of another shape than ``(atoms, 3)`` they do not.

    Args:
        model: the fitted model.
        binding: how names of samples and model match.
        x: points.
        tensor: the input.
        species: of every atom; those of one species are exchanged. None where all are alike.
    """
    if not (is_of_atoms(tensor.shape) and tensor.is_floating):
        return False
    name = tensor.name
    generator = np.random.default_rng(np.random.SeedSequence((0, INVARIANCE_STREAM)))
    rows = {key: column[:ROWS].astype(column.dtype) for key, column in x.items()}
    positions = rows[name]
    kinds = np.array(["" for _ in positions[0]] if species is None else species)
    order = np.arange(len(kinds))
    for kind in np.unique(kinds):
        order[kinds == kind] = generator.permutation(order[kinds == kind])
    turn = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    turn *= -np.sign(np.linalg.det(turn))  # a mirror, too
    moved = positions[:, order] @ turn + positions.std() * generator.standard_normal(3)
    wide = with_dtype(model, "float64")
    before, after = (evaluate(wide, binding, points, {})[0] for points in (rows, {**rows, name: moved}))
    return all(
        bool(np.abs(after[output] - value).max() <= TOLERANCE * np.abs(value).max()) for output, value in before.items()
    )
