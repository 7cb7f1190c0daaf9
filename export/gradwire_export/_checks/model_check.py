"""Checks a written package against the model that it was made from.

A package counts as working only when it was loaded as Serving loads it: into a Session, in a fresh process. Its
numbers are held against the model run eagerly, by another path than the package's (``_expected``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire._errors import CheckFailed
from gradwire._package import CARD_FILE, contract
from gradwire_export._checks.compare import ALLOWED_EPS, compare
from gradwire_export._checks.eager_reference import along_tangents, expected_answers
from gradwire_export._checks.fresh_process import Answer, Call, run_fresh
from gradwire_export._checks.row_independence import MAY_FAIL, independence_calls, require_independence
from gradwire_export._package import Plan, row_signature
from gradwire_export._sources import Function, row_shape

Arrays = dict[str, np.ndarray]

NO_ROWS: Final = " of no rows"  # a call that the model itself may refuse (Keras's Conv1D, on some processors)
CHECK_POINTS: Final = 64  # rows; enough to see a wrong component, few enough to run eagerly


def check_package(package: Path, plan: Plan, *, points: Arrays, neighbours: Arrays, vectors: Arrays) -> dict[str, Any]:
    """Runs every signature in a fresh process and compares.

    Args:
        package: a version directory.
        plan: what it holds.
        points: rows to compare at, ``{input: (rows, *input)}``.
        neighbours: as many other rows, put beside the same first rows to see whether they matter.
        vectors: as many tangents and cotangents, by their names.

    Returns:
        What was found, for the card.

    Raises:
        CheckFailed: the package does not give what the model gives.
        ConversionError: a row's result depends on its neighbours.
    """
    calls = _calls(plan, points, neighbours, vectors)
    answers = dict(zip(calls, run_fresh(package, list(calls.values())), strict=True))
    for label, answer in answers.items():
        if answer.failure is not None and label not in MAY_FAIL and not label.endswith(NO_ROWS):
            raise CheckFailed(f"the package fails when served ({label}): {answer.failure}{_hint(points)}")
    independence = require_independence(answers)  # first, for the derivatives mean nothing without it
    expected = expected_answers(plan, points, vectors)
    zero_rows = [_zero_rows(plan.function, name, answers) for name in expected]
    return {
        "row_independence": independence,
        "trained_model": _against_model(plan, expected, answers, vectors),
        "zero_rows": all(zero_rows),
        "card": _card(answers[contract.CARD], package),
        "warnings": list(plan.warnings),
    }


def _hint(points: Arrays) -> str:
    """Names the integers that were tried, for a model may take only some (an index into a table)."""
    tried = [
        f"{name!r} was drawn from {rows.min()} to {rows.max()}"
        for name, rows in points.items()
        if rows.dtype.kind in "iu"
    ]
    return f"; {' and '.join(tried)}: give a domain that the model takes, such as n=0:9" if tried else ""


def _calls(plan: Plan, points: Arrays, neighbours: Arrays, vectors: Arrays) -> dict[str, Call]:
    calls = independence_calls(contract.SERVING_DEFAULT, points, neighbours)
    calls[contract.CARD] = Call(contract.CARD, {contract.CARD_QUERY: np.zeros(2, np.int32)})
    known = points | vectors
    for name in plan.signatures:
        if name != contract.CARD:
            given = {asked: known[asked] for asked in row_signature(plan, name).inputs}
            calls[name] = Call(name, given)
            none = {asked: rows[:0] for asked, rows in given.items()}
            calls[f"{name}{NO_ROWS}"] = Call(name, none)
    return calls


def _against_model(
    plan: Plan, expected: Mapping[str, Arrays], answers: Mapping[str, Answer], vectors: Arrays
) -> dict[str, Any]:
    for name, array in expected[contract.SERVING_DEFAULT].items():
        if not np.isfinite(array).any():
            raise CheckFailed(f"{name!r} is finite at none of the points checked: give a domain, such as 'x=0.1:1.9'")
    worst = {}
    for signature, wanted in expected.items():
        found = answers[signature].outputs
        if signature == contract.HESSIAN:
            found = {name: found[name] for name in found if name in wanted} | along_tangents(plan, found, vectors)
        if found.keys() != wanted.keys():
            raise CheckFailed(f"{signature} gives {sorted(found)}, expected {sorted(wanted)}")
        worst[signature] = {
            name: _require_close(f"{name!r} of {signature}", array, found[name]) for name, array in wanted.items()
        }
    rows = len(next(iter(expected[contract.VALUE].values())))
    return {"rows": rows, "worst_eps": worst, "allowed_eps": ALLOWED_EPS}


def _require_close(what: str, expected: np.ndarray, found: np.ndarray) -> float:
    comparison = compare(expected, found)
    if comparison.eps > ALLOWED_EPS:
        raise CheckFailed(
            f"{what} differs from the trained model by {comparison.eps:.3g} eps of its scale, allowed {ALLOWED_EPS:g}: "
            f"{comparison.text}"
        )
    return round(comparison.eps, 3)


def _zero_rows(function: Function, signature: str, answers: Mapping[str, Answer]) -> bool:
    answer = answers[f"{signature}{NO_ROWS}"]
    if answer.failure is not None:
        if _takes_no_rows(function):
            raise CheckFailed(f"{signature} fails on no rows, and the model does not: {answer.failure}")
        return False
    for name, array in answers[signature].outputs.items():
        shape = (0, *array.shape[1:])
        if answer.outputs[name].shape != shape:
            raise CheckFailed(
                f"{name!r} of {signature} of no rows has shape {answer.outputs[name].shape}, expected {shape}"
            )
    return True


def _takes_no_rows(function: Function) -> bool:
    try:
        function.call({name: tf.zeros((0, *row_shape(spec)), spec.dtype) for name, spec in function.inputs.items()})
    except (tf.errors.OpError, ValueError):
        return False
    return True


def _card(answer: Answer, package: Path) -> bool:
    text = (package / CARD_FILE).read_bytes()
    if [bytes(row) for row in answer.outputs[contract.CARD_ANSWER]] != [text, text]:
        raise CheckFailed("the signature 'card' does not give the package's card")
    return True
