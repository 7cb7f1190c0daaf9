"""Checks a written package against the model that it was made from, and completes its card with the results.

A package counts as working only when it was loaded as Serving loads it: into a Session, in a fresh process. Its outputs
are compared with the model run eagerly, which differentiates in another way than the package (``eager_reference``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf

from gradwire import load, verify
from gradwire._errors import CheckFailed
from gradwire._numerics import CENTRE, GRID, SAFETY, TINY, by_point, compare, deviation, distance, eps_of, largest
from gradwire._package import (
    CARD,
    CARD_ANSWER,
    CARD_FILE,
    CARD_QUERY,
    SERVING_DEFAULT,
    Card,
    file_digests,
    joined_digest,
)
from gradwire_export._checks.check_rows import CheckRows, drawn_text
from gradwire_export._checks.eager_reference import EagerReference
from gradwire_export._checks.fresh_process import Arrays, Request, Response, run_fresh
from gradwire_export._checks.reference_points import contradictions, reference_points
from gradwire_export._checks.row_independence import BESIDE_NAN, independence_batches, require_independence
from gradwire_export._checks.solve_check import require_solved, solve_requests
from gradwire_export._package import PackageSpec
from gradwire_export._reasons import reason_of_run, refused
from gradwire_export._sources import Function, row_shape

NO_ROWS: Final = " of no rows"  # a call that the model itself may refuse (Keras's Conv1D, on some processors)
STEP: Final = " at step "  # of the fine grid


def check_package(package: Path, spec: PackageSpec, rows: CheckRows) -> dict[str, Any]:
    """Run every signature on some rows in a fresh process, compare, and return the results for the card.

    A ConversionError where a row depends on others, a CheckFailed where the outputs are not the model's.
    """
    batches = independence_batches({name: rows.at[name] for name in spec.function.inputs}, rows.neighbours)
    requests = _requests(spec, rows) | {batch.label: Request(SERVING_DEFAULT, batch.rows) for batch in batches}
    requests |= (solving := solve_requests(spec, rows))
    responses = dict(zip(requests, run_fresh(package, list(requests.values())), strict=True))
    for label, response in responses.items():
        if response.failure is not None and label != BESIDE_NAN and not label.endswith(NO_ROWS):
            raise CheckFailed(
                f"the package fails when served ({label}): {reason_of_run(response.failure)}{_hint(rows)}"
            )
    grids = {name: _on_grid(name, responses) for name in spec.row_signatures}
    # First, for derivatives mean nothing without it.
    independence = require_independence(grids[SERVING_DEFAULT], batches, responses)
    reference = EagerReference(spec, rows.grid)
    with refused("the function cannot be run eagerly, to compare the package with it"):
        outputs = reference.outputs(SERVING_DEFAULT)
    _require_finite(outputs, rows)
    zero_rows = [_zero_rows(spec.function, name, responses) for name in spec.row_signatures]
    return {
        "round_trips": require_solved(spec, solving, responses),
        "row_independence": independence,
        "trained_model": _against_model(spec, reference, grids),
        "zero_rows": all(zero_rows),
        "card": _card(responses[CARD], package),
        "warnings": list(spec.warnings),
    }


def _hint(rows: CheckRows) -> str:
    """Name what was tried where the domain is not known, and the integers: a model may take only some."""
    tried = [
        f"{name!r} was drawn from {array.min()} to {array.max()}"
        for name, array in rows.at.items()
        if array.dtype.kind in "iu"
    ]
    return drawn_text(rows.unknown) + (
        f"; {' and '.join(tried)}: give a domain that the model takes, such as n=0:9" if tried else ""
    )


def _requests(spec: PackageSpec, rows: CheckRows) -> dict[str, Request]:
    requests = {CARD: Request(CARD, {CARD_QUERY: np.zeros(2, np.int32)})}
    for name in spec.row_signatures:
        inputs = {key: rows.at[key] for key in spec.inputs(name)}
        requests[name] = Request(name, inputs)
        requests[f"{name}{NO_ROWS}"] = Request(name, {key: array[:0] for key, array in inputs.items()})
        for step, moved in rows.steps().items():
            requests[f"{name}{STEP}{step}"] = Request(name, {key: moved[key] for key in inputs})
    return requests


def _on_grid(signature: str, responses: Mapping[str, Response]) -> Arrays:
    """Return a signature's outputs on the grid, in the order of its rows."""
    labels = [signature if step == CENTRE else f"{signature}{STEP}{step}" for step in range(len(GRID))]
    by_step = [responses[label].outputs for label in labels]
    return {
        name: np.stack([outputs[name] for outputs in by_step], axis=1).reshape(-1, *array.shape[1:])
        for name, array in by_step[CENTRE].items()
    }


def _against_model(spec: PackageSpec, reference: EagerReference, grids: Mapping[str, Arrays]) -> dict[str, Any]:
    agreements: dict[str, dict[str, Agreement]] = {}
    for signature in spec.row_signatures:
        with refused("the function cannot be run eagerly, to compare the package with it"):
            expected = reference.outputs(signature)
        actual = reference.comparable(signature, grids[signature])
        if actual.keys() != expected.keys():
            raise CheckFailed(f"{signature} returns {sorted(actual)}, expected {sorted(expected)}")
        agreements[signature] = {
            name: require_close(f"{name!r} of {signature}", actual[name], array) for name, array in expected.items()
        }
    return {
        "rows": reference.n_rows // len(GRID),
        "worst": max(each.ratio for by_tensor in agreements.values() for each in by_tensor.values()),
        "worst_eps": _entries(agreements, lambda each: each.eps),
        "noise_eps": _entries(agreements, lambda each: each.noise_eps),
    }


def _require_finite(outputs: Arrays, rows: CheckRows) -> None:
    for name, array in outputs.items():
        if not np.isfinite(array).any():
            hint = drawn_text(rows.unknown) or ": give another domain, where the function has values"
            raise CheckFailed(f"{name!r} is finite at none of the points checked{hint}")


def _entries(agreements: Mapping[str, Mapping[str, Agreement]], pick: Callable[[Agreement], float]) -> dict[str, Any]:
    return {
        signature: {name: round(pick(each), 3) for name, each in by_tensor.items()}
        for signature, by_tensor in agreements.items()
    }


class Agreement(NamedTuple):
    """How closely a package and its model agree on a tensor."""

    ratio: float  # the largest distance in units of what rounding allows there: 1 is the most that passes
    eps: float  # the same in eps of the tensor's scale, its largest magnitude
    noise_eps: float  # the largest rounding that was measured on either side, in eps of the scale


def require_close(what: str, actual: np.ndarray, expected: np.ndarray, whose: str = "the trained model") -> Agreement:
    """Compare a tensor of a package with its model's on the grid: 8 (s + s'), with s the rounding of each.

    s is measured at each row, and at least eps of the tensor's scale: what cancels in one row (a product along a
    direction that the function does not feel) is rounding of that size, whatever is left of it.
    """
    comparison = compare(actual[CENTRE :: len(GRID)], expected[CENTRE :: len(GRID)])
    if not np.isfinite(comparison.eps):
        raise CheckFailed(f"{what} differs from {whose}: {comparison.text}")
    grids = by_point(actual), by_point(expected)
    eps, scale = eps_of(str(expected.dtype)), max(float(largest(grids[1][:, CENTRE]).max(initial=0.0)), TINY)
    noise = [deviation(grid, eps * scale) for grid in grids]
    allowed = SAFETY * (noise[0] + noise[1])
    away = distance(grids[0][:, CENTRE], grids[1][:, CENTRE])
    ratios = away / allowed
    if (ratios > 1).any():
        row, element = np.unravel_index(int(ratios.argmax()), ratios.shape)
        got, right = (float(grid[row, CENTRE, element]) for grid in grids)
        raise CheckFailed(
            f"{what} differs from {whose} by {away[row, element] / (eps * scale):.3g} eps of its scale, allowed "
            f"{allowed[row, element] / (eps * scale):.3g} by the rounding measured there: at row {row}, element "
            f"{element} got {got!r}, expected {right!r}"
        )
    most = max(float(part.max(initial=0.0)) for part in noise) if scale > TINY else 0.0  # zero everywhere has no noise
    return Agreement(float(ratios.max(initial=0.0)), float(away.max(initial=0.0)) / (eps * scale), most / (eps * scale))


def _zero_rows(function: Function, signature: str, responses: Mapping[str, Response]) -> bool:
    response = responses[f"{signature}{NO_ROWS}"]
    if response.failure is not None:
        if _takes_no_rows(function):
            raise CheckFailed(
                f"{signature} fails on no rows, and the model does not: {reason_of_run(response.failure)}"
            )
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

    A check of derivatives against values that fails is recorded, with the signatures that it is evidence against, and
    not raised: whether such a package is kept is for the caller to decide.
    """
    with load(package) as model:
        reference = reference_points(package, card, model)
        card = replace(card, reference=reference)
        write_card(package, card)  # verify reads it through the model
        verification = verify(model)
    wrong = verification.wrong_signatures(contradictions(reference))
    unproven = {name: _reason(texts) for name, texts in wrong.items()}
    about = {"points": verification.points, "seed": verification.seed}
    proof = {"passed": verification.passed and not unproven, **about, "unproven": unproven}
    files = file_digests(package)
    card = replace(
        card,
        checks=checks | verification.to_dict() | {"proof": proof},
        digest=joined_digest(files),
        files=files,
    )
    write_card(package, card)
    return card


def _reason(texts: Sequence[str]) -> str:
    more = len(texts) - 1
    return texts[0] + (f", and {more} more finding{'s' if more > 1 else ''}" if more else "")


def write_card(package: Path, card: Card) -> None:
    """Write a package's card, which its digest leaves out."""
    (package / CARD_FILE).write_text(card.to_json())
