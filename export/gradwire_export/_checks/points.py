"""The rows at which a package is checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from gradwire._numerics import sample_points, signed_eighths
from gradwire._package import BY_NAME, Box, Part
from gradwire_export._checks.fresh_process import Arrays
from gradwire_export._package import PackageSpec
from gradwire_export._sources import row_shape


def draw_points(
    specs: Mapping[str, tf.TensorSpec], boxes: Mapping[str, Box], count: int, rng: np.random.Generator
) -> Arrays:
    """Draw uniform points from the domain.

    Args:
        specs: of the inputs.
        boxes: bounds of every input.
        count: number of rows.
        rng: source of randomness.

    Returns:
        ``{input: (count, *input)}`` in the inputs' dtypes.
    """
    return {
        name: sample_points(boxes[name], count, BY_NAME[spec.dtype.name].numpy, rng) for name, spec in specs.items()
    }


def draw_directions(spec: PackageSpec, count: int, rng: np.random.Generator) -> Arrays:
    """Draw tangents of the differentiated inputs and cotangents of the outputs, of magnitudes from 1/2 to 1.

    Args:
        spec: what the package holds.
        count: number of rows.
        rng: source of randomness.

    Returns:
        ``{name: (count, *row)}``, by their names as inputs of signatures.
    """
    specs = spec.directions(Part.TANGENTS) | spec.directions(Part.COTANGENTS)
    return {
        name: signed_eighths((count, *row_shape(tensor)), rng).astype(tensor.dtype.as_numpy_dtype)
        for name, tensor in specs.items()
    }
