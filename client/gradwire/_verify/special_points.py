"""Special points, which random ones never hit: zeros, equal elements, integers, and the border of the domain.

An element, two, all of an input, or all inputs at once are set to zero, to an integer, to one another, or to a bound;
the rest of the point is random. From there f is followed along single elements and along a direction that moves all
inputs, forward and backward, with steps h that halve. The one-sided difference ``(f(x + hv) - f(x)) / h`` is
extrapolated to h = 0 twice (Richardson), at the step where the change by the last extrapolation and rounding,
8 s / h, are least; that is its uncertainty. Then:

- Differences of the two sides that disagree by more than eight times their uncertainties are those of a kink: reported.
- Where they agree, df·v must agree with them. NaN is wrong where they converge, to a hundredth of the typical df·v.
- On the border of the domain there is one side, and it cannot show a kink: what differs is reported.

The same is asked of jvp and of vjp times v, and of hvp and of the Hessian times v with differences of df, which are
taken without df(x) itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics import SAFETY, TINY, flat_rows, largest, sample_directions
from gradwire._package import (
    BY_NAME,
    HESSIAN,
    JVP,
    SERVING_DEFAULT,
    SIGNATURES,
    VJP,
    Box,
    Part,
    cotangent_name,
    tangent_name,
)
from gradwire._verify.evaluations import SignatureEvaluations, contract
from gradwire._verify.probe import Probe
from gradwire._verify.result import Finding

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

_POINTS: Final = 64  # at most
_ELEMENTS: Final = 6  # of an input that are set one at a time
_DIRECTIONS: Final = 2  # along single elements, of those that were set; one along all inputs besides
_STEPS: Final = 12  # halvings
_LONGEST: Final = 0.25  # of the domain
_ROUNDING: Final = 8.0  # what two extrapolations make of s / h
_CONVERGED: Final = 0.01  # of the typical df·v
_CONTINUOUS: Final = 0.05  # of df: the most that it changes over the smallest step, a sixteen-thousandth of the domain
_ALL: Final = "all inputs"


@final
@dataclass(frozen=True, slots=True)
class _Place:
    """A special point, and what is special there."""

    label: str  # ``"x[0] = 0"``
    x: Mapping[str, NDArray[Any]]  # a row by input
    elements: tuple[tuple[str, int], ...]  # the elements that were set


@final
@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines from special points; each has a place, a direction, and steps to either side."""

    places: Sequence[_Place]  # of each line
    along: Sequence[str]  # what moves, for people
    x: Arrays  # where they start, ``(lines, *row)``
    v: Mapping[str, Floats]  # ``(lines, *row)``
    h: Floats  # forward and backward, ``(lines, 2, steps)``; 0 where there is no room

    def rows(self, boxes: Mapping[str, Box]) -> Arrays:
        """Return all steps as rows, ``(lines * 2 * steps, *row)``."""
        t = self.h * np.array([1.0, -1.0])[:, None]
        rows: Arrays = {}
        for name, x in self.x.items():
            moved = np.broadcast_to(x[:, None, None], (*t.shape, *x.shape[1:]))
            if name in self.v:
                step = t.reshape(*t.shape, *(1 for _ in x.shape[1:])) * self.v[name][:, None, None]
                moved = np.clip(moved + step, *boxes[name]).astype(x.dtype)
            rows[name] = moved.reshape(-1, *x.shape[1:])
        return rows

    def tangents(self) -> Arrays:
        """Return the directions as the tangents of a signature."""
        return {tangent_name(name): v.astype(self.x[name].dtype) for name, v in self.v.items()}


class _Sides(NamedTuple):
    """One-sided derivatives with their uncertainties, ``(lines, 2, elements)``; infinite where there is none."""

    value: Floats
    error: Floats


class _Along(NamedTuple):
    """An output along the lines."""

    served: Floats  # df·v at the places, ``(lines, elements)``
    typical: Floats  # its size, by element
    noise: Floats  # rounding of f, by element
    sides: _Sides


def special_points(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Compare the derivatives at special points with one-sided differences."""
    probe = evaluations.probe
    if not probe.v or not (places := _places(probe)):
        return
    lines = _lines(probe, places)
    count = len(lines.places)
    at = {name: flat_rows(array) for name, array in probe.run(SERVING_DEFAULT, lines.x).items()}
    stepped = probe.run(SERVING_DEFAULT, lines.rows(probe.boxes))
    around = {name: flat_rows(array).reshape(count, 2, _STEPS, -1) for name, array in stepped.items()}
    first = {output.name: _along(evaluations, lines, output.name, at, around) for output in probe.card.outputs}
    for name, along in first.items():
        usable, text = np.isfinite(at[name]), f"df·v of {name}"
        yield _finding(text, "", SERVING_DEFAULT, lines, along.served, along.sides, along.typical, usable, probe.eps)
    yield from _products(evaluations, lines, first, at, around)
    for source in evaluations.second_order():
        yield from _second_order(evaluations, lines, source, at, around)


def _along(
    evaluations: SignatureEvaluations,
    lines: _Lines,
    output: str,
    at: Mapping[str, Floats],
    around: Mapping[str, Floats],
) -> _Along:
    probe = evaluations.probe
    served = np.zeros_like(at[output])
    typical, rounding = np.zeros(served.shape[1]), np.zeros(served.shape[1])
    for each in probe.derivatives():
        if each.output.name == output:
            served = served + _product(each.blocks(at[each.tensor]), lines.v[each.input.name])
            size = np.abs(evaluations.jacobian(each))
            typical += np.einsum("pmn,pn->pm", _finite(size), np.abs(evaluations.v(each.input.name))).max(axis=0)
            x = np.abs(flat_rows(probe.x[each.input.name]))
            rounding += probe.eps * np.einsum("pmn,pn->pm", _finite(size), x).max(axis=0)
    noise = evaluations.default.noise[output].max(axis=0) + rounding
    sides = _one_sided(around[output], at[output], lines.h, noise, probe.eps)
    return _Along(served, np.maximum(typical, _CONVERGED * largest(evaluations.default.values[output])), noise, sides)


def _products(
    evaluations: SignatureEvaluations,
    lines: _Lines,
    first: Mapping[str, _Along],
    at: Mapping[str, Floats],
    around: Mapping[str, Floats],
) -> Iterator[Finding]:
    """Ask the same of jvp, and of vjp times v with a random cotangent u, which is that of the sum of u·f."""
    probe, count = evaluations.probe, len(lines.places)
    if JVP in evaluations.by_signature:
        served = {name: flat_rows(array) for name, array in probe.run(JVP, {**lines.x, **lines.tangents()}).items()}
        for name, along in first.items():
            if (tensor := tangent_name(name)) in served:
                usable, text = np.isfinite(at[name]), f"{tensor} of jvp"
                yield _finding(text, tensor, JVP, lines, served[tensor], along.sides, along.typical, usable, probe.eps)
    if VJP not in evaluations.by_signature:
        return
    rows = np.arange(count) % len(next(iter(evaluations.u.values())))
    u = {name: evaluations.u[name][rows] for name in first}
    cotangents = {
        cotangent_name(output.name): u[output.name].reshape(count, *output.shape).astype(BY_NAME[output.dtype].numpy)
        for output in probe.card.outputs
    }
    x_bar = {name: flat_rows(array) for name, array in probe.run(VJP, {**lines.x, **cotangents}).items()}
    served = np.zeros((count, 1))
    for name, v in lines.v.items():
        if cotangent_name(name) in x_bar:
            served += _product(x_bar[cotangent_name(name)][:, None], v)
    total = np.zeros((count, 1))
    steps = np.zeros((*lines.h.shape, 1))
    typical, noise = np.zeros(1), np.zeros(1)
    for name, along in first.items():
        total += (u[name] * at[name]).sum(axis=1, keepdims=True)
        steps += (u[name][:, None, None] * around[name]).sum(axis=3, keepdims=True)
        typical = typical + float((np.abs(u[name]) * along.typical).sum(axis=1).max())
        noise = noise + float((np.abs(u[name]) * along.noise).sum(axis=1).max())
    sides = _one_sided(steps, total, lines.h, noise, probe.eps)
    yield _finding("x_bar·v of vjp", "", VJP, lines, served, sides, typical, np.isfinite(total), probe.eps)


def _second_order(
    evaluations: SignatureEvaluations,
    lines: _Lines,
    source: str,
    at: Mapping[str, Floats],
    around: Mapping[str, Floats],
) -> Iterator[Finding]:
    probe = evaluations.probe
    takes_v = Part.TANGENTS in SIGNATURES[source].takes
    tangents = lines.tangents() if takes_v else {}
    outputs = {name: flat_rows(array) for name, array in probe.run(source, {**lines.x, **tangents}).items()}
    v = {name: flat_rows(array) for name, array in lines.v.items()}
    typical = evaluations.hessian_times_v(source)
    for each in probe.derivatives():
        name = tangent_name(each.tensor)
        product = contract(probe.card, each, outputs, v) if source == HESSIAN else outputs[name]
        noise = evaluations.default.noise[each.tensor].max(axis=0)
        noise = noise + probe.eps * largest(typical[each.tensor])  # of x, as a bounded multiple of its scale
        sides = _one_sided(around[each.tensor], None, lines.h, noise, probe.eps)
        # Where df jumps, or f does, there is no second derivative: all of df a step away must be near df itself.
        jump = np.abs(around[each.tensor][:, :, -1] - at[each.tensor][:, None]).max(axis=1)
        size = np.maximum(np.abs(at[each.tensor]), largest(evaluations.default.values[each.tensor]).max(initial=0.0))
        usable = np.isfinite(at[each.tensor]) & (jump <= _CONTINUOUS * size).all(axis=1, keepdims=True)
        # v is as long as the domain is wide, so that H·v is as large as df where df varies at all.
        scale = np.maximum(largest(typical[each.tensor]), _CONVERGED * largest(evaluations.default.values[each.tensor]))
        text = f"{name} of {source}"
        yield _finding(text, name, source, lines, product, sides, scale, usable, probe.eps)


def _finding(
    text: str,
    tensor: str,
    signature: str,
    lines: _Lines,
    served: Floats,
    sides: _Sides,
    typical: Floats,
    usable: NDArray[np.bool_],
    eps: float,
) -> Finding:
    """Judge what is served at the places against the differences of the two sides."""
    forward, backward = sides.value[:, 0], sides.value[:, 1]
    error = sides.error.max(axis=1) + eps * np.maximum(np.abs(forward), np.abs(backward))
    with np.errstate(all="ignore"):
        kink = np.abs(forward - backward) > SAFETY * (sides.error.sum(axis=1) + eps * (np.abs(forward) + typical))
        middle = (forward + backward) / 2
        converged = sides.error.max(axis=1) <= _CONVERGED * np.maximum(typical.max(initial=0.0), np.abs(middle))
        ratio = np.abs(served - middle) / (SAFETY * (error + eps * typical) + TINY)
    two_sided = usable & np.isfinite(error) & converged
    # Along all inputs at once infinite derivatives may cancel in differences: NaN is judged along single elements.
    single = np.array([along != _ALL for along in lines.along])[:, None]
    ratio = np.where(np.isnan(ratio), np.where(single, np.inf, 0.0), ratio)
    judged = np.where(two_sided & ~kink, ratio, 0.0)
    worst = float(judged.max(initial=0.0))
    notes = [f"{len({place.label for place in lines.places})} places"]
    kinks = (two_sided & kink).any(axis=1)
    if kinks.any():
        labels = dict.fromkeys(lines.places[int(line)].label for line in np.flatnonzero(kinks))
        notes.append(f"kinks at {len(labels)} of them, such as {next(iter(labels))}")
    if worst > 1:
        line, element = (int(index) for index in np.unravel_index(int(judged.argmax()), judged.shape))
        notes.insert(
            0,
            f"at {lines.places[line].label} ({_show(lines, line)}) along {lines.along[line]}: "
            f"got {served[line, element]:.6g}, differences give {middle[line, element]:.6g}",
        )
    return Finding(
        f"{text} at special points", worst, tensor if worst > 1 else "", "; ".join(notes), signatures=(signature,)
    )


def _one_sided(values: Floats, centre: Floats | None, h: Floats, noise: Floats, eps: float) -> _Sides:
    """Extrapolate one-sided differences, ``(lines, 2, steps, elements)``, to zero; without f(x) if it is None."""
    with np.errstate(all="ignore"):
        sign = np.array([1.0, -1.0])[:, None, None]
        if centre is None:
            difference = sign * (values[:, :, :-1] - values[:, :, 1:]) / (h[:, :, :-1] - h[:, :, 1:])[..., None]
        else:
            difference = sign * (values - centre[:, None, None]) / h[..., None]
        once = 2 * difference[:, :, 1:] - difference[:, :, :-1]
        twice = (4 * once[:, :, 1:] - once[:, :, :-1]) / 3
        s = np.maximum(noise, eps * np.abs(values).max(axis=2, keepdims=True))
        steps = h[:, :, -twice.shape[2] :, None]
        rounding = (_ROUNDING * s / steps)[:, :, 1:]
        error = np.abs(twice - once[:, :, 1:])[:, :, 1:] + rounding
        error = np.maximum(error, np.abs(np.diff(twice, axis=2)))  # one lucky difference proves nothing
        twice = twice[:, :, 1:]
        # Nor do large steps that smaller ones contradict: past a steep front all seems flat.
        away = np.abs(twice[:, :, None] - twice[:, :, :, None])  # of step (axis 3) from step (axis 2)
        contradicted = away > SAFETY * (error[:, :, :, None] + rounding[:, :, None])
        later = np.triu(np.ones((twice.shape[2], twice.shape[2]), bool))[:, :, None]
        error = np.where((contradicted & later).any(axis=3), np.inf, error)
    error = np.where(np.isfinite(error) & np.isfinite(twice), error, np.inf)
    best = error.argmin(axis=2)[:, :, None]
    value = np.take_along_axis(twice, best, axis=2)[:, :, 0]
    return _Sides(np.where(np.isfinite(value), value, 0.0), np.take_along_axis(error, best, axis=2)[:, :, 0])


def _places(probe: Probe) -> list[_Place]:
    """Choose the special points: together first, then one at a time, at random if there are many."""
    inputs = [name for name, x in probe.x.items() if x.dtype.kind == "f"]
    elements = {name: _movable(probe.boxes[name]) for name in inputs}
    everything = [(name, i) for name in inputs for i in elements[name]]
    groups: list[tuple[str, list[tuple[str, int]]]] = [("all", everything)] if len(inputs) > 1 else []
    groups += [
        (f"all of {name}" if len(elements[name]) > 1 else name, [(name, i) for i in elements[name]]) for name in inputs
    ]
    together = len(groups)
    for name in inputs:
        some = [int(i) for i in np.linspace(0, len(elements[name]) - 1, min(_ELEMENTS, len(elements[name]))).round()]
        chosen = [elements[name][i] for i in some]
        if len(chosen) > 1:
            groups += [(f"{name}[{i}]", [(name, i)]) for i in chosen]
            groups += [(f"{name}[{i}], {name}[{j}]", [(name, i), (name, j)]) for i, j in itertools.pairwise(chosen)]
    ordered = [*range(together), *(together + probe.rng.permutation(len(groups) - together))]
    places: list[_Place] = []
    for number in ordered:
        text, group = groups[number]
        for kind, choose in _KINDS.items():
            if kind == "equal" and len(group) == 1:
                continue
            place = _place(probe, len(places), f"{text} {kind}", group, choose)
            if place is not None and len(places) < _POINTS:
                places.append(place)
    return places


def _movable(box: Box) -> list[int]:
    return [int(i) for i in np.flatnonzero((box.lower < box.upper).reshape(-1))]


Choose = Callable[[float, float, float, float, np.random.Generator], float | None]


def _zero(_x: float, _first: float, lower: float, upper: float, _rng: np.random.Generator) -> float | None:
    return 0.0 if lower <= 0 <= upper else None


def _integer(x: float, _first: float, lower: float, upper: float, _rng: np.random.Generator) -> float | None:
    value = min(max(round(x), np.ceil(lower)), np.floor(upper))
    value = value or (1.0 if upper >= 1 else -1.0)  # zero has a kind of its own
    return float(value) if lower <= value <= upper else None


def _equal(_x: float, first: float, lower: float, upper: float, _rng: np.random.Generator) -> float | None:
    return first if lower <= first <= upper else None


# How an element is set, from its value, that of the group's first element, and its bounds; None where it cannot be.
_KINDS: Final[Mapping[str, Choose]] = {
    "= 0": _zero,
    "an integer": _integer,
    "equal": _equal,
    "at its lower bound": lambda _x, _first, lower, _upper, _rng: lower,
    "at its upper bound": lambda _x, _first, _lower, upper, _rng: upper,
    "at a bound": lambda _x, _first, lower, upper, rng: float(rng.choice([lower, upper])),
}


def _place(probe: Probe, number: int, label: str, group: Sequence[tuple[str, int]], choose: Choose) -> _Place | None:
    row = {name: x[number % len(x)].copy() for name, x in probe.x.items()}
    first = float(row[group[0][0]].reshape(-1)[group[0][1]]) if group else 0.0
    changed: list[tuple[str, int]] = []
    for name, index in group:
        lower, upper = (float(bound.reshape(-1)[index]) for bound in probe.boxes[name])
        flat = row[name].reshape(-1)
        value = choose(float(flat[index]), first, lower, upper, probe.rng)
        if value is not None:
            flat[index] = min(max(value, lower), upper)
            row[name] = flat.reshape(row[name].shape)
            changed.append((name, index))
    return _Place(label, row, tuple(changed)) if changed else None


def _lines(probe: Probe, places: Sequence[_Place]) -> _Lines:
    """Draw the lines: along some of the elements that were set, and along all inputs at once."""
    starts: list[_Place] = []
    along: list[str] = []
    directions: list[dict[str, Floats]] = []
    whole = {
        name: sample_directions(probe.boxes[name], len(places), probe.rng, probe.x[name].dtype) for name in probe.v
    }
    for number, place in enumerate(places):
        moving = [(name, index) for name, index in place.elements if name in probe.v]
        for choice in probe.rng.permutation(len(moving))[:_DIRECTIONS]:
            name, index = moving[int(choice)]
            v = {key: np.zeros_like(array[number]) for key, array in whole.items()}
            v[name].reshape(-1)[index] = np.abs(whole[name][number].reshape(-1)[index])
            starts.append(place)
            along.append(f"{name}[{index}]" if whole[name][number].size > 1 else name)
            directions.append(v)
        starts.append(place)
        along.append(_ALL)
        directions.append({name: array[number] for name, array in whole.items()})
    x = {name: np.stack([place.x[name] for place in starts]) for name in probe.x}
    v = {name: np.stack([direction[name] for direction in directions]) for name in probe.v}
    # A bound that was rounded to the dtype may lie a hair outside: there is no room then.
    room = np.maximum(np.stack([_room(x, v, probe.boxes, side) for side in (1.0, -1.0)], axis=1), 0.0)
    with np.errstate(divide="ignore"):
        longest = np.where(room > 0, 2.0 ** np.floor(np.log2(np.minimum(room, _LONGEST))), 0.0)
    return _Lines(starts, along, x, v, longest[:, :, None] * np.power(0.5, np.arange(_STEPS, dtype=np.float64)))


def _room(x: Arrays, v: Mapping[str, Floats], boxes: Mapping[str, Box], side: float) -> Floats:
    """How far each line can go to one side, as a multiple of its direction."""
    rooms: list[Floats] = []
    for name, direction in v.items():
        lower, upper = boxes[name]
        left = np.where(side * direction > 0, upper - x[name], x[name] - lower)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(direction != 0, left / np.abs(direction), np.inf)
        rooms.append(steps.reshape(len(steps), -1).min(axis=1))
    return np.min(rooms, axis=0)


def _product(jacobian: Floats, v: Floats) -> Floats:
    """Return df·v; an element that does not move counts for nothing, NaN though its derivative may be."""
    moved = flat_rows(v)[:, None]
    with np.errstate(all="ignore"):
        return np.where(moved != 0, jacobian * moved, 0.0).sum(axis=2)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)


def _show(lines: _Lines, line: int) -> str:
    shown = [f"{name} = {np.array2string(x[line].reshape(-1)[:4], precision=4)}" for name, x in lines.x.items()]
    return ", ".join(shown[:3])
