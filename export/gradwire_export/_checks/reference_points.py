"""Reference points: where a package's values are known in float64, so that any server of it can be compared with them.

The float64 graph (``float64_graph``) computes f and its derivatives. Its derivatives are the package's own graph in
float64, so a wrong derivative would be wrong there too: they are compared with eighth-order differences of its values,
an independent way to the same quantities, and the card records how far apart the two are.

Where there is no float64 graph, differences of the package's own values replace it (``finite_differences``): f is then
as accurate as the package computes it, and a derivative as accurate as its stated uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from gradwire import Model
from gradwire._numerics import SAFETY, eps_of, hessian_product, require_resolved, sample_directions, sample_points
from gradwire._package import (
    BY_NAME,
    HESSIAN,
    HVP,
    SERVING_DEFAULT,
    UNCERTAINTY,
    VALUE,
    Box,
    Card,
    CardTensor,
    boxes_of,
    std_name,
    tangent_name,
)
from gradwire_export._checks.finite_differences import DirectionalDerivative, directional_derivatives
from gradwire_export._checks.float64_graph import Float64Graph, NoFloat64Graph
from gradwire_export._checks.fresh_process import Arrays

POINTS: Final = 32
SEED: Final = 32  # another draw than that of the checks
MAX_ELEMENTS: Final = 8192  # on the card: 160 KB of text; large models get fewer points
ENOUGH_POINTS: Final = 8  # second derivatives are left out where they would leave fewer
MAX_DIFFERENCES: Final = 64  # input elements: each needs differences of its own
FLOAT64_GRAPH: Final = "the package's graph in float64"
DIFFERENCES: Final = "eighth-order differences of the package's own values"
EPS64: Final = float(np.finfo(np.float64).eps)


@final
@dataclass(frozen=True)
class _Sample:
    """Where the reference is taken."""

    card: Card
    boxes: Mapping[str, Box]
    x: Arrays  # points by input
    v: Arrays  # directions by differentiated input
    second: bool  # whether second derivatives are part of the reference

    @property
    def count(self) -> int:
        """The number of points."""
        return len(next(iter(self.x.values())))

    @property
    def eps(self) -> float:
        """The coarsest of the package's dtypes."""
        return max(eps_of(tensor.dtype) for tensor in (*self.card.inputs, *self.card.outputs))

    @property
    def values_signature(self) -> str:
        """The cheapest signature that returns the outputs."""
        return VALUE if VALUE in self.card.signatures else SERVING_DEFAULT

    def wide(self) -> Arrays:
        """Return the points in float64; integers unchanged."""
        return {name: rows.astype(np.float64) if rows.dtype.kind == "f" else rows for name, rows in self.x.items()}


def reference_points(package: Path, card: Card, model: Model) -> dict[str, Any]:
    """Compute a package's reference points for its card, which is not complete yet: it is not read from ``model``.

    ``no_twin`` in the result says why there is no float64 graph, where there is none (docs/contract.md has the rest).
    """
    sample = _draw(card)
    try:
        return _from_float64_graph(package, sample, model)
    except NoFloat64Graph as error:
        return _from_differences(sample, model) | {"no_twin": str(error)}


def _draw(card: Card) -> _Sample:
    rng = np.random.default_rng(SEED)
    boxes = boxes_of(card, None)
    outputs = {tensor.name: tensor for tensor in card.outputs}
    inputs = {tensor.name: tensor for tensor in card.inputs}
    first = sum(_size(outputs[o]) * _size(inputs[i]) for o, by_input in card.derivatives.items() for i in by_input)
    second = sum(
        _size(outputs[o]) * _size(inputs[i]) * _size(inputs[j])
        for o, by_input in card.second_derivatives.items()
        for i, names in by_input.items()
        for j in names
    )
    size = sum(map(_size, (*card.inputs, *card.outputs))) + first
    has_second = HESSIAN in card.signatures and (size + second) * ENOUGH_POINTS <= MAX_ELEMENTS
    count = max(1, min(POINTS, MAX_ELEMENTS // (size + (second if has_second else 0))))
    for name, tensor in inputs.items():
        require_resolved(name, boxes[name], BY_NAME[tensor.dtype].numpy)
    x = {name: sample_points(boxes[name], count, BY_NAME[inputs[name].dtype].numpy, rng) for name in inputs}
    differentiated = {name for by_input in card.derivatives.values() for name in by_input}
    v = {
        name: sample_directions(boxes[name], count, rng, BY_NAME[tensor.dtype].numpy)
        for name, tensor in inputs.items()
        if name in differentiated
    }
    return _Sample(card, boxes, x, v, has_second)


def _from_float64_graph(package: Path, sample: _Sample, model: Model) -> dict[str, Any]:
    values_signature = sample.values_signature
    signatures = {SERVING_DEFAULT, values_signature} | ({HESSIAN} if sample.second else set())
    signatures |= {HVP, UNCERTAINTY} & set(sample.card.signatures)
    graph = Float64Graph(package, signatures)
    try:
        wide = sample.wide()
        tensors = graph.run(SERVING_DEFAULT, wide)
        if sample.second:
            tensors = graph.run(HESSIAN, wide) | tensors
        if UNCERTAINTY in signatures:
            tensors = graph.run(UNCERTAINTY, wide) | tensors
        _require_same_function(sample, tensors, model)
        differences = {
            name: directional_derivatives(
                lambda rows: graph.run(values_signature, rows), wide, {name: v}, sample.boxes, EPS64
            )
            for name, v in sample.v.items()
        }
        second_order = _second_order(sample, graph, tensors, wide) if signatures & {HVP, HESSIAN} else {}
    finally:
        graph.close()
    entry = {"method": FLOAT64_GRAPH} | _written(sample, tensors) | {"uncertainty": {}}
    compared = _against_differences(sample, tensors, differences)
    compared["differences"] |= second_order
    return entry | compared


def _require_same_function(sample: _Sample, tensors: Arrays, model: Model) -> None:
    """Raise unless package and float64 graph differ by rounding alone: an op that reads bits is another function."""
    served = model.predict(SERVING_DEFAULT, **sample.x)
    for tensor in sample.card.outputs:
        wide, narrow = tensors[tensor.name], served[tensor.name].astype(np.float64)
        finite = np.isfinite(wide) & np.isfinite(narrow)
        if not finite.any():
            raise NoFloat64Graph(f"{tensor.name} is finite at none of the points")
        scale = np.abs(wide[finite]).max()
        if np.abs(wide - narrow)[finite].max() > np.sqrt(eps_of(tensor.dtype)) * scale:
            raise NoFloat64Graph(f"{tensor.name} in float64 is further from {tensor.dtype} than half its digits")


def _against_differences(
    sample: _Sample, tensors: Arrays, differences: Mapping[str, Mapping[str, DirectionalDerivative]]
) -> dict[str, Any]:
    """Return how far first derivatives are from differences of f: relative to scale, and to what is allowed."""
    entries: dict[str, Any] = {}
    discarded = 0
    for output, by_input in sample.card.derivatives.items():
        for wrt, name in by_input.items():
            difference = differences[wrt][output]
            df = tensors[name].astype(np.float64).reshape(*difference.value.shape, -1)
            v = sample.v[wrt].reshape(len(df), -1)
            along, size = np.einsum("pmn,pn->pm", df, v), np.einsum("pmn,pn->pm", np.abs(df), np.abs(v))
            smooth = ~difference.near_kink & np.isfinite(along).all(axis=1)
            if smooth.any():
                entries[name] = _apart(along, difference, size, smooth, tensors[output], sample.eps)
                discarded += int((~smooth).sum())
    return {"differences": entries, "discarded": discarded}


def _apart(
    along: np.ndarray,
    difference: DirectionalDerivative,
    size: np.ndarray,
    smooth: np.ndarray,
    whole: np.ndarray,
    eps: float,
) -> dict[str, Any]:
    """Return how far a product with a derivative is from a difference; ``size`` is the sum of its terms' magnitudes.

    Allowed is an error of the package's own eps, for a gradient may have constants of its own that are rounded to the
    package's dtype (the 2/√π of an error function).
    """
    away = np.abs(along - difference.value)
    allowed = SAFETY * (difference.error + eps * size) + np.finfo(np.float64).tiny
    # A derivative that is zero everywhere has no scale; then that of what was differentiated.
    scale = float(size[smooth].max()) or float(np.abs(whole[np.isfinite(whole)]).max(initial=0.0)) or 1.0
    return {
        "relative": float(f"{away[smooth].max() / scale:.2g}"),
        "worst": float(f"{(away / allowed)[smooth].max():.2g}"),
    }


def _second_order(sample: _Sample, graph: Float64Graph, tensors: Arrays, wide: Arrays) -> dict[str, Any]:
    """Compare the second derivatives along v with differences of the first, all inputs moving at once."""
    differences = directional_derivatives(
        lambda rows: graph.run(SERVING_DEFAULT, rows), wide, sample.v, sample.boxes, EPS64
    )
    sources: dict[str, Arrays] = {}
    if HVP in sample.card.signatures:
        tangents = {tangent_name(name): v for name, v in sample.v.items()}
        sources[HVP] = graph.run(HVP, wide | tangents)
    if sample.second:
        sources[HESSIAN] = _hessian_products(sample, tensors)
    entries: dict[str, Any] = {}
    for signature, products in sources.items():
        for name in (name for by_input in sample.card.derivatives.values() for name in by_input.values()):
            difference = differences[name]
            along = products[tangent_name(name)].astype(np.float64).reshape(difference.value.shape)
            smooth = ~difference.near_kink & np.isfinite(along).all(axis=1) & np.isfinite(difference.value).all(axis=1)
            if smooth.any():
                # What cancels is of the tensor's scale.
                size = np.full_like(along, np.abs(along[smooth]).max(initial=0.0))
                apart = _apart(along, difference, size, smooth, tensors[name], sample.eps)
                entries[f"{tangent_name(name)} of {signature}"] = apart | {"signature": signature}
    return entries


def _hessian_products(sample: _Sample, hessians: Arrays) -> Arrays:
    """Multiply second derivatives with v: ``<first derivative>_dot`` by name."""
    v = {name: array.reshape(sample.count, -1) for name, array in sample.v.items()}
    sizes = {tensor.name: max(1, _size(tensor)) for tensor in sample.card.outputs}
    return {
        tangent_name(name): hessian_product(
            sample.card.second_derivatives.get(output, {}), wrt, sizes[output], hessians, v
        )
        for output, by_input in sample.card.derivatives.items()
        for wrt, name in by_input.items()
    }


def contradictions(reference: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the signatures whose derivatives in float64 are not the differences of their values, with the reasons."""
    wrong: dict[str, tuple[str, ...]] = {}
    for name, entry in reference["differences"].items():
        if not entry["worst"] <= 1:
            signature = entry.get("signature", SERVING_DEFAULT)
            text = f"reference: {name} in float64 is {entry['relative']:.2g} of its scale off differences of the values"
            wrong[signature] = (*wrong.get(signature, ()), text)
    return wrong


def _from_differences(sample: _Sample, model: Model) -> dict[str, Any]:
    """Take f as the package computes it, and derivatives by differences, an input element at a time."""
    served = model.predict(sample.values_signature, **sample.x)
    tensors: Arrays = {tensor.name: served[tensor.name] for tensor in sample.card.outputs}
    errors: Arrays = {}
    near_kink = np.zeros(sample.count, bool)
    for wrt, by_output in _partial_differences(sample, model).items():
        for output, elements in by_output.items():
            name = sample.card.derivatives[output][wrt]
            tensors[name] = np.stack([element.value for element in elements], axis=-1)
            errors[name] = np.stack([element.error for element in elements], axis=-1)
            near_kink |= np.any([element.near_kink for element in elements], axis=0)
    if near_kink.all():  # then no point is better than another, and the uncertainty shows it
        near_kink[:] = False
    smooth = replace(sample, x={name: rows[~near_kink] for name, rows in sample.x.items()})
    written = _written(smooth, {name: array[~near_kink] for name, array in tensors.items()})
    uncertainty = {name: SAFETY * float(error[~near_kink].max()) for name, error in errors.items()}
    results = {"uncertainty": uncertainty, "differences": {}, "discarded": int(near_kink.sum())}
    return {"method": DIFFERENCES} | written | results


def _partial_differences(sample: _Sample, model: Model) -> dict[str, dict[str, list[DirectionalDerivative]]]:
    """Return, by input and output, the derivative with respect to each element of the input."""
    partials: dict[str, dict[str, list[DirectionalDerivative]]] = {}
    for wrt, v in sample.v.items():
        outputs = [output for output, by_input in sample.card.derivatives.items() if wrt in by_input]
        if v[0].size > MAX_DIFFERENCES:
            continue
        partials[wrt] = {output: [] for output in outputs}
        for index in np.ndindex(*v.shape[1:]):
            along = np.zeros_like(v)
            along[(slice(None), *index)] = np.abs(v[(slice(None), *index)])
            if not along.any():  # the domain has no room here
                del partials[wrt]
                break
            differences = directional_derivatives(
                lambda rows: model.predict(sample.values_signature, **rows),
                sample.x,
                {wrt: along},
                sample.boxes,
                sample.eps,
            )
            length = along[(slice(None), *index)][:, None]
            for output in outputs:
                difference = differences[output]
                partials[wrt][output].append(
                    replace(difference, value=difference.value / length, error=difference.error / length)
                )
    return partials


def _written(sample: _Sample, tensors: Arrays) -> dict[str, Any]:
    """Return the elements as text, a tensor a line: exact, and half the size of a list. Rows must be finite."""
    finite = np.ones(sample.count, bool)
    for array in tensors.values():
        finite &= np.isfinite(array.astype(np.float64)).reshape(len(array), -1).all(axis=1)
    return {
        "points": int(finite.sum()),
        "x": {name: _text(rows[finite]) for name, rows in sample.x.items()},
        "tensors": {name: _text(tensors[name][finite]) for name in _order(sample.card) if name in tensors},
    }


def _order(card: Card) -> list[str]:
    """Return the tensors' names in the card's order: outputs, first and second derivatives, error bars."""
    first = [name for by_input in card.derivatives.values() for name in by_input.values()]
    second = [
        name for by_input in card.second_derivatives.values() for names in by_input.values() for name in names.values()
    ]
    outputs = [tensor.name for tensor in card.outputs]
    return [*outputs, *first, *second, *map(std_name, (*outputs, *first))]


def _text(array: np.ndarray) -> str:
    return " ".join(repr(float(element)) for element in array.astype(np.float64).reshape(-1))


def _size(tensor: CardTensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))
