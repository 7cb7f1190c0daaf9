"""Kinks are reported; they fail nothing, for at a kink a function has two slopes and both are right.

Along some lines through the domain f is evaluated on a grid. Where its second difference is largest the grid is made
four times finer, again and again. The change of slope across a step, D⁺ - D⁻ = (f(t + h) - 2 f(t) + f(t - h)) / h,
falls with h where f is smooth, stays where it has a kink (ReLU, abs, maximum), and grows where it jumps (floor, round:
no derivative shows a jump at all). It is followed as long as it is above rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics import SAFETY, finest_step, flat_rows
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.probe import Probe
from gradwire._verify.result import Finding

Floats = NDArray[np.float64]

LINES: Final = 16
_POINTS: Final = 129  # of a line
_ZOOM: Final = 4.0
_LEVELS: Final = 6  # 4096 times finer than the first grid
_LEAST_LEVELS: Final = 2  # the change of slope of a smooth f has fallen by 16 by then
_HALF: Final = 8  # the finer grid reaches two of the coarser steps to either side
_STAYS: Final = 0.5


@final
@dataclass(slots=True)
class _Search:
    """The search on every line for one output; arrays of ``(lines,)``."""

    centre: Floats  # where along the line the second difference is largest
    first: Floats  # the change of slope on the first grid, in units of the output's spread
    last: Floats  # on the finest grid where it was above rounding
    levels: NDArray[np.int64]  # how many finer grids that is


def kinks(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Look for kinks and jumps of every output."""
    probe = evaluations.probe
    if not any(v.any() for v in probe.v.values()):
        return
    count = min(LINES, len(next(iter(probe.x.values()))))
    lower, upper = _ends(probe, count)
    step = (upper - lower) / (_POINTS - 1)
    levels, finest = _LEVELS, finest_step(probe.v, probe.boxes, probe.x)
    if step.min() < finest * _ZOOM**_LEVELS:
        # Only between points that x has in its dtype are second differences those of f.
        step = 2.0 ** np.floor(np.log2(step))
        levels = max(0, min(_LEVELS, math.floor(math.log(step.min() / finest, _ZOOM))))
        lower = np.ceil(lower / step) * step
        upper = lower + step * (_POINTS - 1)
    coarse = _values(probe, lower[:, None] + step[:, None] * np.arange(_POINTS))
    for output, values in coarse.items():
        spread = np.ptp(np.nan_to_num(values), axis=(0, 1))
        scale = np.where(spread > 0, spread, 1.0)
        noise = SAFETY * float((evaluations.default.noise[output].max(axis=0) / scale).max(initial=0.0))
        search = _search(probe, output, values / scale, (lower, upper), scale, noise, levels)
        yield _finding(probe, output, search, count)


def _search(
    probe: Probe,
    output: str,
    values: Floats,
    ends: tuple[Floats, Floats],
    scale: Floats,
    noise: float,
    levels: int,
) -> _Search:
    lower, upper = ends
    step = (upper - lower) / (_POINTS - 1)
    second = _second_difference(values)
    size = second.max(axis=1)
    centre = lower + step * (second.argmax(axis=1) + 1)
    search = _Search(centre, size / step, size / step, np.where(size > noise, 0, -1))
    for level in range(1, levels + 1):
        step = step / _ZOOM
        # Wholly in the domain: cut off at its border, a straight line would look bent.
        search.centre = np.clip(search.centre, lower + _HALF * step, upper - _HALF * step)
        grid = search.centre[:, None] + step[:, None] * np.arange(-_HALF, _HALF + 1)
        second = _second_difference(_values(probe, grid)[output] / scale)
        size = second.max(axis=1)
        alive = (search.levels == level - 1) & (size > noise)
        search.centre = np.where(alive, search.centre + step * (second.argmax(axis=1) + 1 - _HALF), search.centre)
        search.last = np.where(alive, size / step, search.last)
        search.levels = np.where(alive, level, search.levels)
        if not alive.any():
            break
    return search


def _finding(probe: Probe, output: str, search: _Search, count: int) -> Finding:
    stays = (search.levels >= _LEAST_LEVELS) & (search.last > _STAYS * search.first)
    jump = stays & (search.last > _STAYS * search.first * _ZOOM ** np.maximum(search.levels, 0))
    parts = [
        f"{what} on {int(lines.sum())} of {count} lines{_place(probe, search, int(np.flatnonzero(lines)[0]))}"
        for lines, what in ((jump, "jumps"), (stays & ~jump, "kinks"))
        if lines.any()
    ]
    return Finding(output, note="; ".join(parts) or f"none on {count} lines through the domain")


def _place(probe: Probe, search: _Search, line: int) -> str:
    places = [
        f"{name} = {(probe.x[name][line] + search.centre[line] * v[line]).reshape(-1)[0]:.4g}"
        for name, v in probe.v.items()
        if v[0].size == 1
    ]
    return f", such as near {', '.join(places)}" if places else ""


def _second_difference(values: Floats) -> Floats:
    """The largest of an output's elements, ``(lines, steps)``; 0 where f is not finite."""
    with np.errstate(all="ignore"):
        second = np.abs(values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2])
    return np.where(np.isfinite(second), second, 0.0).max(axis=2, initial=0.0)


def _ends(probe: Probe, count: int) -> tuple[Floats, Floats]:
    """How far each line reaches in the domain both ways, as multiples of v."""
    lower, upper = np.full(count, -np.inf), np.full(count, np.inf)
    for name, v in probe.v.items():
        x, direction = flat_rows(probe.x[name][:count]), flat_rows(v[:count])
        low, high = (bound.reshape(-1) for bound in probe.boxes[name])
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (low - x) / direction, (high - x) / direction
        lower = np.maximum(lower, np.nan_to_num(np.fmin(one, other), nan=-np.inf, neginf=-np.inf).max(axis=1))
        upper = np.minimum(upper, np.nan_to_num(np.fmax(one, other), nan=np.inf, posinf=np.inf).min(axis=1))
    return lower, upper


def _values(probe: Probe, t: Floats) -> dict[str, Floats]:
    """The outputs at x + tv, ``(lines, steps, elements)``."""
    values = probe.run_along(probe.values_signature, t)
    return {tensor.name: values[tensor.name] for tensor in probe.card.outputs}
