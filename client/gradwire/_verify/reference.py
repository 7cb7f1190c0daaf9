"""What is served now, against the float64 numbers that were computed when the package was made.

The card's ``reference`` holds points x, exact in the package's dtype, with f and its derivatives there: from the
package's own graph rewritten to float64, or, where that could not be done, from finite differences
(docs/verification.md). A served tensor T agrees with its reference if

    |T - reference| ≤ max(8 s, 32 eps max|T|) + uncertainty,

with s the rounding of T, measured here and now (``_numerics/noise.py``), max|T| an element's largest magnitude over the
points, and the uncertainty that the card states for the reference: zero but for differences. The note has the distance
in units in the last place (ulp) of the tensor's largest magnitude: what float32 costs this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import PackageError
from gradwire._numerics import ALLOWED_EPS, SAFETY, eps_of, largest, ulp_of, worst_ratio
from gradwire._package import BY_NAME, DIFFERENTIABLE, Card, Part
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.result import Finding

Floats = NDArray[np.float64]


def against_reference(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Compare what is served with the card's reference points; yield nothing where it has none."""
    probe = evaluations.probe
    reference = probe.card.reference
    if not reference:
        return
    x = _points(probe.card, reference)
    remaining = dict(_section(reference, "tensors"))
    uncertainty = _section(reference, "uncertainty")
    for kind in DIFFERENTIABLE:
        if kind.takes != (Part.INPUTS,) or not kind.order or not probe.has(kind.name):
            continue
        outputs = probe.model.signatures[kind.name].outputs
        if not (tensors := [tensor for tensor in outputs if tensor in remaining]):
            continue
        served = probe.measure(kind.name, x=x)
        for tensor in tensors:
            values = served.values[tensor]
            expected = _read(remaining.pop(tensor), values.shape, tensor)
            # A saturated activation takes one value on all of the fine grid, so that its rounding is not seen there.
            scale = np.nan_to_num(np.abs(expected)).max(axis=0, initial=0.0)
            noise = np.maximum(SAFETY * served.noise[tensor], ALLOWED_EPS * eps_of(outputs[tensor].dtype) * scale)
            allowed = noise + _uncertainty(uncertainty, tensor)
            worst = worst_ratio(values, expected, allowed)
            note = _ulps(values, expected, outputs[tensor].dtype)
            yield Finding(f"{tensor} of {kind.name}", worst, tensor, note, signatures=(kind.name,))


def _ulps(values: Floats, expected: Floats, dtype: str) -> str:
    """The distance in units in the last place of the largest magnitude: ``"median 0.4 ulp, at most 3"``."""
    with np.errstate(all="ignore"):
        ulps = np.abs(values - expected) / ulp_of(float(largest(expected).max(initial=0.0)), dtype)
    finite = ulps[np.isfinite(ulps)]
    if not finite.size:
        return "finite nowhere"
    return f"median {np.median(finite):.2g} ulp, at most {finite.max():.3g}; {len(values)} points"


def _points(card: Card, reference: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    section = _section(reference, "x")
    x: dict[str, NDArray[Any]] = {}
    for tensor in card.inputs:
        if tensor.name not in section:
            raise PackageError(f"the card's reference has no input {tensor.name!r}, expected a card from export")
        elements = _read(section[tensor.name], None, tensor.name)
        size = int(np.prod(tensor.shape, dtype=np.int64))
        if elements.size % size:
            raise PackageError(
                f"the card's reference has {elements.size} elements of {tensor.name!r}, expected rows of {size}"
            )
        x[tensor.name] = elements.reshape(-1, *tensor.shape).astype(BY_NAME[tensor.dtype].numpy)
    lengths = {name: len(rows) for name, rows in x.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise PackageError(f"the card's reference has rows {lengths}, expected as many for each input")
    return x


def _section(reference: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = reference.get(key)
    if not isinstance(section, dict):
        raise PackageError(f"the card's reference has no {key!r}, expected a card as export writes it")
    return section  # pyright: ignore[reportUnknownVariableType] - JSON is untyped


def _read(value: Any, shape: tuple[int, ...] | None, name: str) -> Floats:
    try:
        elements = np.asarray(value.split() if isinstance(value, str) else value, np.float64)
        return elements if shape is None else elements.reshape(shape)
    except (TypeError, ValueError) as error:
        raise PackageError(f"the card's reference of {name!r}: {error}; expected numbers") from error


def _uncertainty(section: Mapping[str, Any], tensor: str) -> float:
    value = section.get(tensor, 0.0)
    if not isinstance(value, (int, float)) or not value >= 0:
        raise PackageError(f"the card's reference has uncertainty {value!r} of {tensor!r}, expected a number")
    return float(value)
