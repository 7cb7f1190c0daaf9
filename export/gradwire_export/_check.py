"""Checks a written package against the model that it was made from.

A package counts as working only when it was loaded as Serving loads it: into a Session, in a fresh process. Its
numbers are held against the model run eagerly, its derivatives against a plain tape for each output number, which is
another path than the repeated rows of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire import _contract as contract
from gradwire._errors import CheckFailed, ConversionError
from gradwire_export._derivatives import Pair, derivative_by_component
from gradwire_export._fresh_process import Answer, Call, run_fresh
from gradwire_export._function import Function, row_shape

Arrays = dict[str, np.ndarray]

# Calls that the model itself may refuse: NaN (a Cholesky factor), no rows (Keras's Conv1D, on some processors).
MAY_FAIL: Final = ("beside NaN", "no rows")

CHECK_POINTS: Final = 64  # rows; enough to see a wrong component, few enough to run eagerly
LONE_ROWS: Final = 3  # rows that are run alone and among other neighbours
# Of the output's scale: good models move by up to 4.3 between batch sizes (measured).
ALLOWED_EPS: Final = 32.0


@dataclass(frozen=True)
class Comparison:
    """How far two arrays are apart.

    Attributes:
        eps: largest difference, in units of the dtype's eps times the largest finite magnitude expected.
        text: where that is, in words.
    """

    eps: float
    text: str


def check_package(
    package: Path,
    function: Function,
    names: Mapping[str, Mapping[str, str]],
    zeros: Sequence[Pair],
    *,
    points: Arrays,
    neighbours: Arrays,
) -> dict[str, Any]:
    """Runs every signature in a fresh process and compares.

    Args:
        package: a version directory.
        function: what it was made from.
        names: ``{output: {input: tensor name}}``.
        zeros: pairs declared to be zero.
        points: rows to compare at, ``{input: (rows, *input)}``.
        neighbours: as many other rows, put beside the same first rows to see whether they matter.

    Returns:
        What was found, for the card.

    Raises:
        CheckFailed: the package does not give what the model gives.
        ConversionError: a row's result depends on its neighbours.
    """
    calls = _calls(points, neighbours)
    answers = dict(zip(calls, run_fresh(package, list(calls.values())), strict=True))
    for label, answer in answers.items():
        if answer.failure is not None and label not in MAY_FAIL:
            raise CheckFailed(f"the package fails when served ({label}): {answer.failure}")
    independence = _independence(answers)  # first, for the derivatives mean nothing without it
    with tf.device("CPU:0"):  # as the fresh process: a GPU may round products to TF32
        expected = _expected(function, names, zeros, points)
    return {
        "row_independence": independence,
        "trained_model": _against_model(expected, answers),
        "zero_rows": _zero_rows(answers["no rows"], function, expected),
        "card": _card(answers["card"], package),
    }


def _calls(points: Arrays, neighbours: Arrays) -> dict[str, Call]:
    def default(change: Callable[[str, np.ndarray], np.ndarray]) -> Call:
        return Call(contract.SERVING_DEFAULT, {name: change(name, rows) for name, rows in points.items()})

    def beside(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[:LONE_ROWS], others[LONE_ROWS:]])

    calls = {
        "all rows": default(lambda _, rows: rows),
        "beside others": default(lambda name, rows: beside(rows, neighbours[name])),
        "beside NaN": default(lambda _, rows: beside(rows, np.full_like(rows, np.nan))),
        "no rows": default(lambda _, rows: rows[:0]),
        contract.VALUE: Call(contract.VALUE, dict(points)),
        contract.CARD: Call(contract.CARD, {contract.CARD_QUERY: np.zeros(2, np.int32)}),
    }
    for row in range(LONE_ROWS):
        calls[f"row {row} alone"] = default(lambda _, rows, row=row: rows[row : row + 1])
    return calls


def _expected(
    function: Function, names: Mapping[str, Mapping[str, str]], zeros: Sequence[Pair], points: Arrays
) -> Arrays:
    tensors = {name: tf.constant(rows) for name, rows in points.items()}
    expected = {name: tensor.numpy() for name, tensor in function.call(tensors).items()}
    for output, by_input in names.items():
        row = row_shape(function.outputs[output])
        parts = [derivative_by_component(function, tensors, output, index) for index in np.ndindex(*row)]
        for wrt, name in by_input.items():
            input_row = row_shape(function.inputs[wrt])
            stacked = np.stack([np.asarray(tf.convert_to_tensor(part[wrt])) for part in parts], axis=1)
            shape = (-1, *contract.derivative_shape(row, input_row))
            expected[name] = stacked.reshape(shape) * (0 if (output, wrt) in zeros else 1)
    return expected


def _against_model(expected: Arrays, answers: Mapping[str, Answer]) -> dict[str, Any]:
    found = answers["all rows"].outputs
    if found.keys() != expected.keys():
        raise CheckFailed(f"serving_default gives {sorted(found)}, expected {sorted(expected)}")
    worst = {}
    for name, array in expected.items():
        if not np.isfinite(array).any():
            raise CheckFailed(
                f"{name!r} is finite at none of the points checked: give a domain, such as 'x=0.1:1.9'"
            )
        worst[name] = _require_close(f"{name!r} of serving_default", array, found[name])
    for name, array in answers[contract.VALUE].outputs.items():
        _require_close(f"{name!r} of value", expected[name], array)
    rows = len(next(iter(expected.values())))
    return {"rows": rows, "worst_eps": worst, "allowed_eps": ALLOWED_EPS}


def _require_close(what: str, expected: np.ndarray, found: np.ndarray) -> float:
    comparison = compare(expected, found)
    if comparison.eps > ALLOWED_EPS:
        raise CheckFailed(
            f"{what} differs from the trained model by {comparison.eps:.3g} eps of its scale, allowed {ALLOWED_EPS:g}: "
            f"{comparison.text}"
        )
    return round(comparison.eps, 3)


def compare(expected: np.ndarray, found: np.ndarray) -> Comparison:
    """Measures how far two arrays are apart; NaN equals NaN, an infinity itself.

    Args:
        expected: the reference.
        found: the array to judge.

    Returns:
        The largest difference in eps of the reference's scale; infinite where shapes, dtypes or non-finite values differ.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return Comparison(np.inf, f"{found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}")
    finite = np.isfinite(expected)
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    bad = ~same & (~finite | ~np.isfinite(found))
    if bad.any():
        return Comparison(np.inf, _where(expected, found, int(np.argmax(bad))))
    if not finite.any():
        return Comparison(0.0, "nothing finite to compare")
    difference = np.zeros(expected.shape, np.float64)
    np.subtract(expected, found, out=difference, where=finite)
    scale = max(float(np.abs(expected[finite]).max()), float(np.finfo(expected.dtype).tiny))
    eps = float(np.abs(difference).max()) / (float(np.finfo(expected.dtype).eps) * scale)
    return Comparison(eps, _where(expected, found, int(np.argmax(np.abs(difference)))))


def _where(expected: np.ndarray, found: np.ndarray, flat: int) -> str:
    index = tuple(int(i) for i in np.unravel_index(flat, expected.shape))
    return f"at {index} got {found[index]!s}, expected {expected[index]!s}"


def _independence(answers: Mapping[str, Answer]) -> dict[str, Any]:
    reference = answers["all rows"].outputs
    worst = 0.0
    tried = [label for label in ("beside others", "beside NaN") if answers[label].failure is None]
    for label in tried:
        worst = max(worst, _same_rows(label, reference, answers[label].outputs, range(LONE_ROWS)))
    for row in range(LONE_ROWS):
        worst = max(worst, _same_rows("alone", reference, answers[f"row {row} alone"].outputs, [row]))
    return {
        "rows": LONE_ROWS,
        "tried": [*tried, "alone"],
        "worst_eps": round(worst, 3),
        "allowed_eps": ALLOWED_EPS,
    }


def _same_rows(label: str, reference: Arrays, found: Arrays, rows: Sequence[int]) -> float:
    worst = 0.0
    for name, array in found.items():
        # The scale is that of all rows: a single row may happen to be near zero.
        replaced = reference[name].copy()
        replaced[list(rows)] = array[: len(rows)]
        comparison = compare(reference[name], replaced)
        if comparison.eps > ALLOWED_EPS:
            raise ConversionError(
                f"{name!r} of a row depends on the other rows of the batch ({label}): {comparison.text}; such a model has no "
                "derivative row by row, and server-side batching would change its answers. Batch normalisation in "
                "training mode, attention over the batch and normalising by the batch do this: export the inference form"
            )
        worst = max(worst, comparison.eps)
    return worst


def _zero_rows(answer: Answer, function: Function, expected: Arrays) -> bool:
    if answer.failure is not None:
        if _takes_no_rows(function):
            raise CheckFailed(f"the package fails on no rows, and the model does not: {answer.failure}")
        return False
    for name, array in expected.items():
        shape = (0, *array.shape[1:])
        if answer.outputs[name].shape != shape:
            raise CheckFailed(f"{name!r} of no rows has shape {answer.outputs[name].shape}, expected {shape}")
    return True


def _takes_no_rows(function: Function) -> bool:
    try:
        function.call(
            {name: tf.zeros((0, *row_shape(spec)), spec.dtype) for name, spec in function.inputs.items()}
        )
    except (tf.errors.OpError, ValueError):
        return False
    return True


def _card(answer: Answer, package: Path) -> bool:
    text = (package / "assets" / "card.json").read_bytes()
    if [bytes(row) for row in answer.outputs[contract.CARD_ANSWER]] != [text, text]:
        raise CheckFailed("the signature 'card' does not give the package's card")
    return True
