"""Checks a written package against the model that it was made from, and completes its card with the results.

A package counts as working only when it was loaded as Serving loads it: into a Session, in a fresh process. Its outputs
are compared with the model run eagerly, which differentiates in another way than the package (``eager_reference``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire import load, verify
from gradwire._errors import CheckFailed
from gradwire._numerics import ALLOWED_EPS, compare, sample_points, signed_eighths
from gradwire._package import (
    BY_NAME,
    CARD,
    CARD_ANSWER,
    CARD_FILE,
    CARD_QUERY,
    SERVING_DEFAULT,
    Box,
    Card,
    Part,
    file_digests,
    joined_digest,
)
from gradwire_export._checks.eager_reference import EagerReference
from gradwire_export._checks.fresh_process import Arrays, Request, Response, run_fresh
from gradwire_export._checks.reference_points import reference_points
from gradwire_export._checks.row_independence import BESIDE_NAN, independence_batches, require_independence
from gradwire_export._package import PackageSpec
from gradwire_export._reasons import refused
from gradwire_export._sources import Function, row_shape

NO_ROWS: Final = " of no rows"  # a call that the model itself may refuse (Keras's Conv1D, on some processors)
CHECK_POINTS: Final = 64  # rows; enough to see a wrong component, few enough to run eagerly


def draw_points(
    specs: Mapping[str, tf.TensorSpec], boxes: Mapping[str, Box], count: int, rng: np.random.Generator
) -> Arrays:
    """Draw uniform points from the domain."""
    return {
        name: sample_points(boxes[name], count, BY_NAME[spec.dtype.name].numpy, rng) for name, spec in specs.items()
    }


def draw_directions(spec: PackageSpec, count: int, rng: np.random.Generator) -> Arrays:
    """Draw tangents of the differentiated inputs and cotangents of the outputs, of magnitudes from 1/2 to 1."""
    specs = spec.directions(Part.TANGENTS) | spec.directions(Part.COTANGENTS)
    return {
        name: signed_eighths((count, *row_shape(tensor)), rng).astype(tensor.dtype.as_numpy_dtype)
        for name, tensor in specs.items()
    }


def check_package(package: Path, spec: PackageSpec, *, rows: Arrays, neighbours: Arrays) -> dict[str, Any]:
    """Run every signature on some rows in a fresh process, compare, and return the results for the card.

    ``neighbours`` are as many other rows of the inputs, put beside the same first rows to see whether they matter: a
    ConversionError where they do, a CheckFailed where the outputs are not the model's.
    """
    batches = independence_batches({name: rows[name] for name in spec.function.inputs}, neighbours)
    requests = _requests(spec, rows) | {batch.label: Request(SERVING_DEFAULT, batch.rows) for batch in batches}
    responses = dict(zip(requests, run_fresh(package, list(requests.values())), strict=True))
    for label, response in responses.items():
        if response.failure is not None and label != BESIDE_NAN and not label.endswith(NO_ROWS):
            raise CheckFailed(f"the package fails when served ({label}): {response.failure}{_hint(rows)}")
    # First, for derivatives mean nothing without it.
    independence = require_independence(responses[SERVING_DEFAULT].outputs, batches, responses)
    reference = EagerReference(spec, rows)
    zero_rows = [_zero_rows(spec.function, name, responses) for name in spec.row_signatures]
    return {
        "row_independence": independence,
        "trained_model": _against_model(spec, reference, responses),
        "zero_rows": all(zero_rows),
        "card": _card(responses[CARD], package),
        "warnings": list(spec.warnings),
    }


def _hint(rows: Arrays) -> str:
    """Name the integers that were tried, for a model may take only some (an index into a table)."""
    tried = [
        f"{name!r} was drawn from {array.min()} to {array.max()}"
        for name, array in rows.items()
        if array.dtype.kind in "iu"
    ]
    return f"; {' and '.join(tried)}: give a domain that the model takes, such as n=0:9" if tried else ""


def _requests(spec: PackageSpec, rows: Arrays) -> dict[str, Request]:
    requests = {CARD: Request(CARD, {CARD_QUERY: np.zeros(2, np.int32)})}
    for name in spec.row_signatures:
        inputs = {key: rows[key] for key in spec.inputs(name)}
        requests[name] = Request(name, inputs)
        requests[f"{name}{NO_ROWS}"] = Request(name, {key: array[:0] for key, array in inputs.items()})
    return requests


def _against_model(spec: PackageSpec, reference: EagerReference, responses: Mapping[str, Response]) -> dict[str, Any]:
    with refused("the function cannot be run eagerly, to compare the package with it"):
        outputs = reference.outputs(SERVING_DEFAULT)
    for name, array in outputs.items():
        if not np.isfinite(array).any():
            raise CheckFailed(f"{name!r} is finite at none of the points checked: give a domain, such as 'x=0.1:1.9'")
    worst = {}
    for signature in spec.row_signatures:
        with refused("the function cannot be run eagerly, to compare the package with it"):
            expected = reference.outputs(signature)
        actual = reference.comparable(signature, responses[signature].outputs)
        if actual.keys() != expected.keys():
            raise CheckFailed(f"{signature} returns {sorted(actual)}, expected {sorted(expected)}")
        worst[signature] = {
            name: _require_close(f"{name!r} of {signature}", actual[name], array) for name, array in expected.items()
        }
    return {"rows": reference.n_rows, "worst_eps": worst, "allowed_eps": ALLOWED_EPS}


def _require_close(what: str, actual: np.ndarray, expected: np.ndarray) -> float:
    comparison = compare(actual, expected)
    if comparison.eps > ALLOWED_EPS:
        raise CheckFailed(
            f"{what} differs from the trained model by {comparison.eps:.3g} eps of its scale, allowed {ALLOWED_EPS:g}: "
            f"{comparison.text}"
        )
    return round(comparison.eps, 3)


def _zero_rows(function: Function, signature: str, responses: Mapping[str, Response]) -> bool:
    response = responses[f"{signature}{NO_ROWS}"]
    if response.failure is not None:
        if _takes_no_rows(function):
            raise CheckFailed(f"{signature} fails on no rows, and the model does not: {response.failure}")
        return False
    for name, array in responses[signature].outputs.items():
        shape = (0, *array.shape[1:])
        if response.outputs[name].shape != shape:
            raise CheckFailed(
                f"{name!r} of {signature} of no rows has shape {response.outputs[name].shape}, expected {shape}"
            )
    return True


def _takes_no_rows(function: Function) -> bool:
    try:
        function.call({name: tf.zeros((0, *row_shape(spec)), spec.dtype) for name, spec in function.inputs.items()})
    except Exception:  # noqa: BLE001 - whatever a user's function raises for no rows
        return False
    return True


def _card(response: Response, package: Path) -> bool:
    text = (package / CARD_FILE).read_bytes()
    if [bytes(row) for row in response.outputs[CARD_ANSWER]] != [text, text]:
        raise CheckFailed("the signature 'card' does not return the package's card")
    return True


def complete_card(package: Path, card: Card, checks: dict[str, Any]) -> Card:
    """Complete a package's card; the graph that the checks run on is not touched.

    A check of derivatives against values that fails is recorded, not raised: a model may deliberately have a gradient
    (a straight-through estimator, a clipped one) that is not the derivative. That the package returns what TensorFlow
    differentiates was checked before, and would have raised.
    """
    with load(package) as model:
        card = replace(card, reference=reference_points(package, card, model))
        _write(package, card)  # verify reads it through the model
        verification = verify(model)
    proof = {"passed": verification.passed, "points": verification.points, "seed": verification.seed}
    files = file_digests(package)
    card = replace(
        card,
        checks=checks | verification.to_dict() | {"proof": proof},
        digest=joined_digest(files),
        files=files,
    )
    _write(package, card)
    return card


def _write(package: Path, card: Card) -> None:
    (package / CARD_FILE).write_text(card.to_json())
