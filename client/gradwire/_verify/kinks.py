"""Check 6: kinks are found and told; they fail nothing, for there a function has two slopes and both are right.

Along some lines through the domain f is looked at on a grid. Where its second difference is largest the grid is made
four times finer, again and again. The change of slope across a step, D⁺ - D⁻ = (f(t + h) - 2 f(t) + f(t - h)) / h,
falls with h where f is smooth, stays where it has a kink (ReLU, abs, maximum), and grows where it jumps (floor, round:
a derivative does not tell of a jump at all). It is followed as long as it stands above rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from gradwire._numerics import SAFETY, flat_rows
from gradwire._verify.result import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gradwire._verify.evaluations import Answers
    from gradwire._verify.probe import Subject

    Floats = NDArray[np.float64]

LINES: Final = 16
_POINTS: Final = 129  # of a line
_ZOOM: Final = 4.0
_LEVELS: Final = 6  # 4096 times finer than the first grid
_LEAST_LEVELS: Final = 2  # a smooth bend has fallen by 16 by then
_HALF: Final = 8  # the finer grid reaches two of the coarser steps to either side
_STAYS: Final = 0.5


@final
@dataclass(slots=True)
class _Trail:
    """The search on every line for one output; arrays of ``(lines,)``.

    Attributes:
        centre: where along the line the second difference is largest.
        first: the change of slope on the first grid, in units of the output's spread.
        last: on the finest grid where it stood above rounding.
        levels: how many finer grids that is.
    """

    centre: Floats
    first: Floats
    last: Floats
    levels: NDArray[np.int64]


def kinks(answers: Answers) -> Iterator[Finding]:
    """Looks for kinks and jumps of every output."""
    subject = answers.subject
    if not subject.v:
        return
    count = min(LINES, len(next(iter(subject.x.values()))))
    lower, upper = _reach(subject, count)
    step = (upper - lower) / (_POINTS - 1)
    coarse = _along(subject, lower[:, None] + step[:, None] * np.arange(_POINTS))
    for output, values in coarse.items():
        spread = np.ptp(np.nan_to_num(values), axis=(0, 1))
        scale = np.where(spread > 0, spread, 1.0)
        noise = SAFETY * float((answers.default.noise[output].max(axis=0) / scale).max(initial=0.0))
        trail = _follow(subject, output, values / scale, (lower, upper), scale, noise)
        yield _finding(subject, output, trail, count)


def _follow(
    subject: Subject, output: str, values: Floats, ends: tuple[Floats, Floats], scale: Floats, noise: float
) -> _Trail:
    lower, upper = ends
    step = (upper - lower) / (_POINTS - 1)
    second = _second_difference(values)
    at = second.argmax(axis=1)
    size = second.max(axis=1)
    trail = _Trail(lower + step * (at + 1), size / step, size / step, np.where(size > noise, 0, -1))
    for level in range(1, _LEVELS + 1):
        step = step / _ZOOM
        # Wholly in the domain: cut off at its border, a straight line would look bent.
        trail.centre = np.clip(trail.centre, lower + _HALF * step, upper - _HALF * step)
        grid = trail.centre[:, None] + step[:, None] * np.arange(-_HALF, _HALF + 1)
        second = _second_difference(_along(subject, grid)[output] / scale)
        size = second.max(axis=1)
        alive = (trail.levels == level - 1) & (size > noise)
        trail.centre = np.where(alive, trail.centre + step * (second.argmax(axis=1) + 1 - _HALF), trail.centre)
        trail.last = np.where(alive, size / step, trail.last)
        trail.levels = np.where(alive, level, trail.levels)
        if not alive.any():
            break
    return trail


def _finding(subject: Subject, output: str, trail: _Trail, count: int) -> Finding:
    stays = (trail.levels >= _LEAST_LEVELS) & (trail.last > _STAYS * trail.first)
    jump = stays & (trail.last > _STAYS * trail.first * _ZOOM ** np.maximum(trail.levels, 0))
    parts: list[str] = []
    for found, what in ((jump, "jumps"), (stays & ~jump, "kinks")):
        if found.any():
            where = _where(subject, trail, int(np.flatnonzero(found)[0]))
            parts.append(f"{what} on {int(found.sum())} of {count} lines{where}")
    return Finding(output, note="; ".join(parts) or f"none on {count} lines through the domain")


def _where(subject: Subject, trail: _Trail, line: int) -> str:
    places = [
        f"{name} = {(subject.x[name][line] + trail.centre[line] * v[line]).reshape(-1)[0]:.4g}"
        for name, v in subject.v.items()
        if v[0].size == 1
    ]
    return f", such as near {', '.join(places)}" if places else ""


def _second_difference(values: Floats) -> Floats:
    """The largest of an output's numbers, ``(lines, steps)``; 0 where f is not finite."""
    with np.errstate(all="ignore"):
        second = np.abs(values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2])
    return np.where(np.isfinite(second), second, 0.0).max(axis=2, initial=0.0)


def _reach(subject: Subject, count: int) -> tuple[Floats, Floats]:
    """How far each line may go in the domain, as multiples of v."""
    lower, upper = np.full(count, -np.inf), np.full(count, np.inf)
    for name, v in subject.v.items():
        x, direction = flat_rows(subject.x[name][:count]), flat_rows(v[:count])
        low, high = (bound.reshape(-1) for bound in subject.boxes[name])
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (low - x) / direction, (high - x) / direction
        lower = np.maximum(lower, np.nan_to_num(np.fmin(one, other), nan=-np.inf, neginf=-np.inf).max(axis=1))
        upper = np.minimum(upper, np.nan_to_num(np.fmax(one, other), nan=np.inf, posinf=np.inf).min(axis=1))
    return lower, upper


def _along(subject: Subject, t: Floats) -> dict[str, Floats]:
    """The outputs at x + tv, ``(lines, steps, numbers)``."""
    found = subject.along(subject.values_signature, t)
    return {tensor.name: found[tensor.name] for tensor in subject.card.outputs}
