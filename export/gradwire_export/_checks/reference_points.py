"""Reference points: where a package's numbers are known in float64, so that whatever serves it can be held to them.

The float64 twin (``_twin``) gives f and its derivatives. Its derivatives are the package's own graph in float64, so a
wrong derivative would be wrong there too: they are held against eighth-order differences of the twin's values, an
independent way to the same numbers, and the card keeps how far apart the two are.

Where there is no twin, differences of the package's own values stand in (``_differences``): f is then as good as the
package computes it, and a derivative as good as its stated uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from gradwire import Model
from gradwire._numerics import SAFETY, eps_of, sample_directions, sample_points
from gradwire._package import BY_NAME, HESSIAN, SERVING_DEFAULT, VALUE, Box, Card, CardTensor, boxes_of
from gradwire_export._checks.finite_differences import Slope, slopes
from gradwire_export._checks.float64_graph import NoTwin, Twin

Arrays = dict[str, np.ndarray]

POINTS: Final = 32
SEED: Final = 32  # another draw than that of the checks
MOST_NUMBERS: Final = 8192  # on the card: 160 KB of text; large models get fewer points
ENOUGH_POINTS: Final = 8  # second derivatives are left out where they would leave fewer
MOST_DIFFERENCES: Final = 64  # input numbers: each needs differences of its own
TWIN: Final = "the package's graph in float64"
DIFFERENCES: Final = "eighth-order differences of the package's own values"


@dataclass(frozen=True)
class _Place:
    """Where the reference is taken."""

    card: Card
    boxes: Mapping[str, Box]
    x: Arrays
    v: Arrays
    seconds: bool

    def wide(self) -> Arrays:
        """The points in float64; integers as they are."""
        return {name: rows.astype(np.float64) if rows.dtype.kind == "f" else rows for name, rows in self.x.items()}


def reference_points(package: Path, card: Card, model: Model) -> dict[str, Any]:
    """Computes a package's reference points.

    Args:
        package: a version directory.
        card: its card, without reference.
        model: the package, loaded. Its card is not read, for it is not complete yet.

    Returns:
        For the card: ``method``; ``points``, how many; ``x`` and ``tensors``, numbers by name as text, row by row; ``uncertainty`` by tensor
        where it is not zero; ``differences``, how far the derivatives are from differences of f; ``discarded``, how
        many points near kinks did not count there; ``no_twin``, why there is none, where so.
    """
    place = _place(card)
    try:
        return _by_twin(package, place, model)
    except NoTwin as error:
        return _by_differences(place, model) | {"no_twin": str(error)}


def _place(card: Card) -> _Place:
    rng = np.random.default_rng(SEED)
    boxes = boxes_of(card, None)
    outputs = {tensor.name: tensor for tensor in card.outputs}
    inputs = {tensor.name: tensor for tensor in card.inputs}
    firsts = sum(_size(outputs[o]) * _size(inputs[i]) for o, by in card.derivatives.items() for i in by)
    seconds = sum(
        _size(outputs[o]) * _size(inputs[i]) * _size(inputs[j])
        for o, by in card.second_derivatives.items()
        for i, names in by.items()
        for j in names
    )
    numbers = sum(map(_size, (*card.inputs, *card.outputs))) + firsts
    has_seconds = HESSIAN in card.signatures and (numbers + seconds) * ENOUGH_POINTS <= MOST_NUMBERS
    count = max(1, min(POINTS, MOST_NUMBERS // (numbers + (seconds if has_seconds else 0))))
    x = {name: sample_points(boxes[name], count, BY_NAME[inputs[name].dtype].numpy, rng) for name in inputs}
    differentiated = {name for by in card.derivatives.values() for name in by}
    v = {name: sample_directions(boxes[name], count, rng) for name in inputs if name in differentiated}
    return _Place(card, boxes, x, v, has_seconds)


def _by_twin(package: Path, place: _Place, model: Model) -> dict[str, Any]:
    signatures = [SERVING_DEFAULT, VALUE, *([HESSIAN] if place.seconds else [])]
    signatures = [name for name in signatures if name in place.card.signatures]
    twin = Twin(package, signatures)
    try:
        wide = place.wide()
        tensors = twin.run(SERVING_DEFAULT, wide)
        if place.seconds:
            tensors = twin.run(HESSIAN, wide) | tensors
        _require_same(place, tensors, model)
        values = VALUE if VALUE in signatures else SERVING_DEFAULT
        found = {
            name: slopes(lambda rows: twin.run(values, rows), wide, {name: v}, place.boxes, _EPS64)
            for name, v in place.v.items()
        }
    finally:
        twin.close()
    return {"method": TWIN} | _written(place, tensors) | {"uncertainty": {}} | _against(place, tensors, found)


_EPS64: Final = float(np.finfo(np.float64).eps)


def _require_same(place: _Place, tensors: Arrays, model: Model) -> None:
    """The twin must be the package but for rounding: an op that reads bits, or draws numbers, is another function."""
    served = model.predict(SERVING_DEFAULT, **place.x)
    for tensor in place.card.outputs:
        wide, narrow = tensors[tensor.name], served[tensor.name].astype(np.float64)
        finite = np.isfinite(wide) & np.isfinite(narrow)
        if not finite.any():
            raise NoTwin(f"{tensor.name} is finite at none of the points")
        scale = np.abs(wide[finite]).max()
        if np.abs(wide - narrow)[finite].max() > np.sqrt(eps_of(tensor.dtype)) * scale:
            raise NoTwin(f"{tensor.name} in float64 is further from {tensor.dtype} than half its digits")


def _against(place: _Place, tensors: Arrays, found: Mapping[str, Mapping[str, Slope]]) -> dict[str, Any]:
    """How far first derivatives are from differences of f: relative to scale, and in units of what is allowed."""
    kept: dict[str, Any] = {}
    discarded = 0
    for output, by in place.card.derivatives.items():
        for wrt, name in by.items():
            slope = found[wrt][output]
            df = tensors[name].astype(np.float64).reshape(*slope.value.shape, -1)
            v = place.v[wrt].reshape(len(df), -1)
            along, size = np.einsum("pmn,pn->pm", df, v), np.einsum("pmn,pn->pm", np.abs(df), np.abs(v))
            away = np.abs(along - slope.value)
            smooth = ~slope.near_kink & np.isfinite(along).all(axis=1)
            if not smooth.any():
                continue
            allowed = SAFETY * (slope.error + _EPS64 * size) + np.finfo(np.float64).tiny
            scale = (
                float(size[smooth].max()) or float(np.abs(tensors[output]).max()) or 1.0
            )  # a zero derivative has none
            kept[name] = {
                "relative": float(f"{away[smooth].max() / scale:.2g}"),
                "worst": float(f"{(away / allowed)[smooth].max():.2g}"),
            }
            discarded += int((~smooth).sum())
    return {"differences": kept, "discarded": discarded}


def _by_differences(place: _Place, model: Model) -> dict[str, Any]:
    """Takes f as the package gives it, and derivatives by differences, an input number at a time."""
    values = VALUE if VALUE in place.card.signatures else SERVING_DEFAULT
    eps = max(eps_of(tensor.dtype) for tensor in (*place.card.inputs, *place.card.outputs))
    served = model.predict(values, **place.x)
    tensors: Arrays = {tensor.name: served[tensor.name] for tensor in place.card.outputs}
    errors: Arrays = {}
    near_kink = np.zeros(len(next(iter(place.x.values()))), bool)
    for wrt, by_output in _columns(place, model, values, eps).items():
        for output, columns in by_output.items():
            name = place.card.derivatives[output][wrt]
            tensors[name] = np.stack([column.value for column in columns], axis=-1)
            errors[name] = np.stack([column.error for column in columns], axis=-1)
            near_kink |= np.any([column.near_kink for column in columns], axis=0)
    if near_kink.all():  # then no point is better than another, and the uncertainty says so
        near_kink[:] = False
    kept = replace(place, x={name: rows[~near_kink] for name, rows in place.x.items()})
    written = _written(kept, {name: array[~near_kink] for name, array in tensors.items()})
    uncertainty = {name: SAFETY * float(error[~near_kink].max()) for name, error in errors.items()}
    about = {"uncertainty": uncertainty, "differences": {}, "discarded": int(near_kink.sum())}
    return {"method": DIFFERENCES} | written | about


def _columns(place: _Place, model: Model, values: str, eps: float) -> dict[str, dict[str, list[Slope]]]:
    """By input and output, the slope along each of the input's numbers, in units of that number."""
    columns: dict[str, dict[str, list[Slope]]] = {}
    for wrt, v in place.v.items():
        outputs = [output for output, by in place.card.derivatives.items() if wrt in by]
        if v[0].size > MOST_DIFFERENCES:
            continue
        columns[wrt] = {output: [] for output in outputs}
        for index in np.ndindex(*v.shape[1:]):
            along = np.zeros_like(v)
            along[(slice(None), *index)] = np.abs(v[(slice(None), *index)])
            if not along.any():  # the domain has no room here
                del columns[wrt]
                break
            found = slopes(lambda rows: model.predict(values, **rows), place.x, {wrt: along}, place.boxes, eps)
            per = along[(slice(None), *index)][:, None]
            for output in outputs:
                slope = found[output]
                columns[wrt][output].append(Slope(slope.value / per, slope.error / per))
    return columns


def _written(place: _Place, tensors: Arrays) -> dict[str, Any]:
    """Numbers as text, a tensor a line: exact, and of half the size of a list. Rows with no finite number go."""
    finite = np.ones(len(next(iter(place.x.values()))), bool)
    for array in tensors.values():
        finite &= np.isfinite(array.astype(np.float64)).reshape(len(array), -1).all(axis=1)
    return {
        "points": int(finite.sum()),
        "x": {name: _text(rows[finite]) for name, rows in place.x.items()},
        "tensors": {name: _text(tensors[name][finite]) for name in _order(place.card) if name in tensors},
    }


def _order(card: Card) -> list[str]:
    """The tensors' names in the card's order: outputs, first derivatives, second ones."""
    firsts = [name for by in card.derivatives.values() for name in by.values()]
    seconds = [name for by in card.second_derivatives.values() for names in by.values() for name in names.values()]
    return [*(tensor.name for tensor in card.outputs), *firsts, *seconds]


def _text(array: np.ndarray) -> str:
    return " ".join(repr(float(number)) for number in array.astype(np.float64).reshape(-1))


def _size(tensor: CardTensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))
