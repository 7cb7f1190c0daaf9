"""Where a package is compared with its model: points, several directions at each, and the fine grid around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, final

import numpy as np
import tensorflow as tf

from gradwire._numerics import CENTRE, GRID, eps_of, grid_around, sample_directions, sample_points, signed_eighths
from gradwire._package import BY_NAME, UNKNOWN_BOUNDS, Box, Part, tangent_name
from gradwire_export._checks.fresh_process import Arrays
from gradwire_export._package import PackageSpec
from gradwire_export._sources import Function, row_shape

POINTS: Final = 64  # enough to see a wrong component, few enough to run eagerly
LEAST_POINTS: Final = 4  # of a model of large rows
DIRECTIONS: Final = 2  # at each point, so that a product that is right along one direction is tried along another
MAX_ELEMENTS: Final = 1 << 24  # of an input or a derivative in all rows of the grid: 128 MB in float64
SEED: Final = 10  # of the rows; each kind of them has a stream of its own


@final
@dataclass(frozen=True)
class CheckRows:
    """The rows of a comparison; arrays by the names of inputs, tangents and cotangents."""

    at: Arrays  # the rows, ``(rows, *row)``: every point once for each direction
    grid: Arrays  # nine rows close around each of them, ``(rows * 9, *row)``; directions stay
    neighbours: Arrays  # as many rows of the inputs, at other points
    unknown: Sequence[str] = ()  # inputs whose domain is not known

    @classmethod
    def draw(cls, spec: PackageSpec, boxes: Mapping[str, Box], unknown: Sequence[str] = ()) -> CheckRows:
        """Draw the rows for a package; points, neighbours and directions know nothing of one another."""
        function = spec.function
        streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(SEED).spawn(4)]
        for_points, for_neighbours, for_directions, for_grid = streams
        count = _point_count(spec)
        specs = function.inputs
        dtypes = {name: BY_NAME[tensor.dtype.name].numpy for name, tensor in specs.items()}
        points = {name: sample_points(boxes[name], count, dtype, for_points) for name, dtype in dtypes.items()}
        points = {name: np.concatenate([rows] * DIRECTIONS) for name, rows in points.items()}
        rows = count * DIRECTIONS
        neighbours = {name: sample_points(boxes[name], rows, dtype, for_neighbours) for name, dtype in dtypes.items()}
        directions = {
            name: signed_eighths((rows, *row_shape(tensor)), for_directions).astype(tensor.dtype.as_numpy_dtype)
            for name, tensor in spec.directions(Part.COTANGENTS).items()
        }
        for name in function.wrt:  # as long as the domain is wide, or an input of large numbers would hide in products
            drawn = sample_directions(boxes[name], rows, for_directions)
            fixed = signed_eighths(drawn.shape, for_directions)
            directions[tangent_name(name)] = np.where(drawn != 0, drawn, fixed).astype(str(dtypes[name]))
        along = {name: sample_directions(boxes[name], rows, for_grid, dtypes[name]) for name in function.wrt}
        at, eps = points | directions, max(eps_of(specs[name].dtype.name) for name in function.wrt)
        return cls(at, grid_around(at, along, boxes, eps), neighbours, unknown)

    def steps(self) -> dict[int, Arrays]:
        """Return the grid by step, all rows each, without the rows themselves.

        Each step is a batch of its own: a row that depended on its neighbours would see the same ones each time.
        """
        return {
            step: {name: rows[step :: len(GRID)] for name, rows in self.grid.items()}
            for step in range(len(GRID))
            if step != CENTRE
        }

    def values(self, function: Function) -> Arrays:
        """Return the outputs of a function, run eagerly at the rows, on the CPU as the fresh process does."""
        with tf.device("CPU:0"):
            x = {name: tf.constant(self.at[name]) for name in function.inputs}
            return {name: tensor.numpy() for name, tensor in function.call(x).items()}

    def targets(self, spec: PackageSpec) -> Arrays:
        """Return the outputs at the rows that signatures of a package take as their targets."""
        outputs = {each.solve.output for each in spec.solves.values()}
        return {name: array for name, array in self.values(spec.function).items() if name in outputs} if outputs else {}


def drawn_text(unknown: Sequence[str]) -> str:
    """Return what a message about the checks must say where a domain is not known; empty where all are."""
    if not unknown:
        return ""
    names = ", ".join(map(repr, unknown))
    lower, upper = UNKNOWN_BOUNDS
    verb = "was" if len(unknown) == 1 else "were"
    return f"; {names} {verb} drawn from [{lower:g}, {upper:g}], for no domain is known: give one, such as {unknown[0]}=0.1:1.9"


def _point_count(spec: PackageSpec) -> int:
    inputs = sum(prod(row_shape(tensor)) for tensor in spec.function.inputs.values())
    outputs = sum(prod(row_shape(tensor)) for tensor in spec.function.outputs.values())
    most = MAX_ELEMENTS // (max(1, inputs) * max(1, outputs) * len(GRID) * DIRECTIONS)
    return min(POINTS, max(LEAST_POINTS, most))
