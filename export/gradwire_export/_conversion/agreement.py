"""Compares what was made of a package with the package itself, as a Session of a fresh process runs that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from gradwire._errors import CheckFailed
from gradwire._numerics import CENTRE, GRID, ulp_of
from gradwire._package import Signature
from gradwire_export._checks import Arrays, Request, Response, require_close, run_fresh
from gradwire_export._conversion.draws import Draws

Run: TypeAlias = Callable[[Arrays], Arrays]


def agreement(
    package: Path, runs: Mapping[str, Run], signatures: Mapping[str, Signature], draws: Draws, form: str
) -> dict[str, dict[str, float]]:
    """Return how far each tensor of each signature is from the package's, in ulp of its largest magnitude.

    Args:
        package: its version directory.
        runs: what was made of each signature, by name.
        signatures: by name, with shapes and dtypes.
        draws: where they are compared.
        form: what was made of it, for messages: ``"ONNX"``.

    Raises:
        CheckFailed: a tensor is further away than the rounding of both, measured there, allows.
    """
    requests = {name: Request(name, draws.grid(signatures[name])) for name in runs}
    responses = dict(zip(requests, run_fresh(package, list(requests.values())), strict=True))
    return {
        name: _compared(signatures[name], run, requests[name].inputs, responses[name], form)
        for name, run in runs.items()
    }


def _compared(signature: Signature, run: Run, grid: Arrays, response: Response, form: str) -> dict[str, float]:
    """Compare all rows at once, the first nine one by one, and the shapes of no rows."""
    if response.failure is not None:
        raise CheckFailed(f"the package fails when served ({signature.name}): {response.failure}")
    for name, array in run({name: array[:0] for name, array in grid.items()}).items():
        spec = signature.outputs[name]
        if array.shape != (0, *spec.shape[1:]) or array.dtype.name != spec.dtype:
            raise CheckFailed(
                f"{name!r} of {signature.name} of no rows is {array.dtype} {array.shape} in {form}, expected {spec.dtype} "
                f"{(0, *spec.shape[1:])}"
            )
    together = run(grid)
    apart = [run({name: array[row : row + 1] for name, array in grid.items()}) for row in range(len(GRID))]
    distances: dict[str, float] = {}
    for name in signature.outputs:
        expected = response.outputs[name]
        what = f"{name!r} of {signature.name} in {form}"
        require_close(what, together[name], expected, "the package")
        first = np.concatenate([rows[name] for rows in apart])
        require_close(f"{what}, row by row", first, expected[: len(GRID)], "the package")
        distances[name] = _ulps(together[name][CENTRE :: len(GRID)], expected[CENTRE :: len(GRID)])
    return distances


def _ulps(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest distance in ulp of the largest magnitude."""
    finite = np.isfinite(expected)
    scale = float(np.abs(expected[finite]).max(initial=0.0))
    away = float(np.abs(actual[finite].astype(np.float64) - expected[finite]).max(initial=0.0))
    return round(away / float(ulp_of(scale, str(expected.dtype))), 2) if scale else 0.0
