"""Points at which a package's signatures are run: inputs, tangents and cotangents by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from gradwire._numerics import eps_of, grid_around, sample_directions, sample_points, signed_eighths
from gradwire._package import Box, Card, Signature, boxes_of
from gradwire_export._checks import Arrays

POINTS: Final = 64
LEAST_POINTS: Final = 4  # of a model of large rows
MAX_ELEMENTS: Final = 1 << 20  # of an input or result, in all points
SEED: Final = 18  # another draw than those of the export's checks


@final
@dataclass(frozen=True)
class Draws:
    """Draws of a package's inputs from the domain on its card."""

    boxes: Mapping[str, Box]

    @classmethod
    def of(cls, card: Card) -> Draws:
        """Draw in the domain of a card; UsageError where it is none."""
        return cls(boxes_of(card, None))

    def inputs(self, signature: Signature, rows: int) -> Arrays:
        """Return a signature's inputs of some rows; directions are of lengths from a half to one."""
        random = np.random.default_rng(SEED)
        drawn: Arrays = {}
        for name, spec in signature.inputs.items():
            dtype, shape = np.dtype(spec.dtype), (rows, *spec.least_row_shape)
            drawn[name] = (
                sample_points(self.boxes[name], rows, dtype, random)
                if name in self.boxes
                else signed_eighths(shape, random).astype(dtype)
            )
        return drawn

    def grid(self, signature: Signature) -> Arrays:
        """Return the fine grid around some points, on which the rounding of a signature is measured."""
        x = self.inputs(signature, _count(signature))
        rows = len(next(iter(x.values())))
        random = np.random.default_rng(SEED)
        floats = {name: spec for name, spec in signature.inputs.items() if name in self.boxes and "float" in spec.dtype}
        along = {
            name: sample_directions(self.boxes[name], rows, random, np.dtype(spec.dtype))
            for name, spec in floats.items()
        }
        return grid_around(x, along, self.boxes, max((eps_of(spec.dtype) for spec in floats.values()), default=0.0))


def _count(signature: Signature) -> int:
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return min(POINTS, max(LEAST_POINTS, MAX_ELEMENTS // max(math.prod(spec.least_row_shape) for spec in specs)))
