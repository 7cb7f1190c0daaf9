"""Check 3: whatever serves today, against points with numbers that a float64 run gave when the package was made.

The card's ``reference`` holds points x, exact in the package's dtype, with f and its derivatives there: from the
package's own graph rewritten to float64, or, where that could not be done, from differences (docs/proof.md). A tensor
that is served agrees with its reference if

    |T - reference| ≤ 8 s + uncertainty,

with s the rounding of T, measured here and now (``_noise``; at least eps max|T|), and the uncertainty that the card
states for the reference: zero but for differences. The note tells the distance in units in the last place (ulp) of the
tensor's largest magnitude: what float32 costs this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire._errors import PackageError
from gradwire._numerics import SAFETY, largest, ulp_of, worst_ratio
from gradwire._package import BY_NAME, HESSIAN, SERVING_DEFAULT
from gradwire._verify.probe import measure_at
from gradwire._verify.result import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gradwire._package import Card
    from gradwire._verify.probe import Subject

    Floats = NDArray[np.float64]


def against_reference(subject: Subject) -> Iterator[Finding]:
    """Compares what is served with the card's reference points; yields nothing where it has none.

    Raises:
        PackageError: the card's reference cannot be read.
    """
    reference = subject.card.reference
    if not reference:
        return
    x = _points(subject.card, reference)
    expected = _section(reference, "tensors")
    uncertainty = _section(reference, "uncertainty")
    for name in (SERVING_DEFAULT, HESSIAN):
        if not subject.has(name):
            continue
        wanted = [tensor for tensor in subject.model.signatures[name].outputs if tensor in expected]
        if not wanted:
            continue
        found = measure_at(subject, name, x, {})
        for tensor in wanted:
            numbers = _read(expected[tensor], found.values[tensor].shape, tensor)
            allowed = SAFETY * found.noise[tensor] + _uncertainty(uncertainty, tensor)
            worst = worst_ratio(found.values[tensor], numbers, allowed)
            dtype = subject.model.signatures[name].outputs[tensor].dtype
            note = _ulps(found.values[tensor], numbers, dtype)
            yield Finding(f"{tensor} of {name}", worst, tensor, note)
        expected = {key: value for key, value in expected.items() if key not in wanted}


def _ulps(found: Floats, expected: Floats, dtype: str) -> str:
    """The distance in units in the last place of the largest magnitude: ``"0.4 ulp, at most 3"``."""
    with np.errstate(all="ignore"):
        ulps = np.abs(found - expected) / ulp_of(largest(expected).max(initial=0.0), dtype)
    finite = ulps[np.isfinite(ulps)]
    if not finite.size:
        return "finite nowhere"
    return f"median {np.median(finite):.2g} ulp, at most {finite.max():.3g}; {len(found)} points"


def _points(card: Card, reference: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    given = _section(reference, "x")
    x: dict[str, NDArray[Any]] = {}
    for tensor in card.inputs:
        if tensor.name not in given:
            raise PackageError(f"the card's reference has no input {tensor.name!r}, expected a card from export")
        numbers = _read(given[tensor.name], None, tensor.name)
        size = int(np.prod(tensor.shape, dtype=np.int64))
        if numbers.size % size:
            raise PackageError(
                f"the card's reference has {numbers.size} numbers of {tensor.name!r}, expected rows of {size}"
            )
        x[tensor.name] = numbers.reshape(-1, *tensor.shape).astype(BY_NAME[tensor.dtype].numpy)
    lengths = {name: len(rows) for name, rows in x.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise PackageError(f"the card's reference has rows {lengths}, expected as many for each input")
    return x


def _section(reference: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = reference.get(key)
    if not isinstance(found, dict):
        raise PackageError(f"the card's reference has no {key!r}, expected a card as export writes it")
    return found  # pyright: ignore[reportUnknownVariableType] - JSON is untyped


def _read(value: Any, shape: tuple[int, ...] | None, name: str) -> Floats:
    try:
        numbers = np.asarray(value.split() if isinstance(value, str) else value, np.float64)
        return numbers if shape is None else numbers.reshape(shape)
    except (TypeError, ValueError) as error:
        raise PackageError(f"the card's reference of {name!r}: {error}; expected numbers") from error


def _uncertainty(section: Mapping[str, Any], tensor: str) -> float:
    value = section.get(tensor, 0.0)
    if not isinstance(value, (int, float)) or not value >= 0:
        raise PackageError(f"the card's reference has uncertainty {value!r} of {tensor!r}, expected a number")
    return float(value)
