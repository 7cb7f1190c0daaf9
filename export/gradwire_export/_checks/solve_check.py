"""Signatures that solve, against the model: for values that it has, and for targets that it does not take.

The targets are the model's values at the points of the comparison, so that each has a solution in the domain; three
rows beside them have none: NaN for a target, NaN in an input, and a target far beyond all values. The model, run
eagerly at the solutions, must return the targets to rounding, and its gradients there the derivatives, by the implicit
function theorem. A row that is not flagged must be right; a row that is flagged must be NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire._errors import CheckFailed
from gradwire._numerics import eps_of
from gradwire._package import CONVERGED, RESIDUAL
from gradwire_export._checks.check_rows import CheckRows
from gradwire_export._checks.fresh_process import Arrays, Request, Response
from gradwire_export._package import PackageSpec, SolveSpec
from gradwire_export._reasons import reason_of_run

NO_ROWS: Final = " of no rows"
FAR: Final = 1e3  # times the spread of the values: a target that no function of such values takes
PLANTED: Final = 3  # rows without a solution: NaN target, NaN input, far target
ZERO: Final = tf.UnconnectedGradients.ZERO
ROUNDING: Final = 64.0  # eps: of f, eagerly against the graph, and of quotients of derivatives


def solve_requests(spec: PackageSpec, rows: CheckRows) -> dict[str, Request]:
    """Return a run of every signature that solves, on the model's own values and on rows without a solution."""
    requests: dict[str, Request] = {}
    targets = rows.targets(spec)
    for name, each in spec.solves.items():
        inputs = {key: _with_planted((rows.at | targets)[key]) for key in spec.inputs(name)}
        target = inputs[each.solve.output]
        finite = target[np.isfinite(target)]
        target[-PLANTED] = np.nan
        target[-1] = finite.max() + FAR * (np.ptp(finite) + np.abs(finite).max()) if finite.size else np.inf
        for key, array in inputs.items():
            if key != each.solve.output and array.dtype.kind == "f":
                array[-PLANTED + 1] = np.nan
        requests[name] = Request(name, inputs)
        requests[f"{name}{NO_ROWS}"] = Request(name, {key: array[:0] for key, array in inputs.items()})
    return requests


def require_solved(
    spec: PackageSpec, requests: Mapping[str, Request], responses: Mapping[str, Response]
) -> dict[str, Any]:
    """Raise a CheckFailed where a solution is wrong, or no row is solved; return the card's entry of each signature."""
    return {name: _require(spec, name, each, requests[name].inputs, responses) for name, each in spec.solves.items()}


def _with_planted(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array[:1].repeat(PLANTED, axis=0)])


def _require(
    spec: PackageSpec, name: str, each: SolveSpec, inputs: Arrays, responses: Mapping[str, Response]
) -> dict[str, Any]:
    response, empty = responses[name], responses[f"{name}{NO_ROWS}"]
    for one in (response, empty):
        if one.failure is not None:
            raise CheckFailed(f"the package fails when served ({name}): {reason_of_run(one.failure)}")
    outputs, solve = response.outputs, each.solve
    if wrong := [key for key, array in empty.outputs.items() if array.shape != (0, *outputs[key].shape[1:])]:
        raise CheckFailed(
            f"{wrong[0]!r} of {name} of no rows has shape {empty.outputs[wrong[0]].shape}, expected no row"
        )
    converged = outputs[CONVERGED]
    others = {key: array for key, array in inputs.items() if key != solve.output}
    has_nan = np.any([np.isnan(_flat(a)).any(axis=1) for a in inputs.values() if a.dtype.kind == "f"], axis=0)
    if (has_nan & converged).any():
        raise CheckFailed(f"{name} says that it solved a row of NaN, row {int((has_nan & converged).argmax())}")
    for key in (solve.input, *solve.derivatives.values()):
        if not np.isnan(_flat(outputs[key])[~converged]).all():
            raise CheckFailed(f"{name} returns numbers for {key!r} in rows that are flagged as not converged")
    worst = _require_right(spec, name, each, others, inputs[solve.output], outputs)
    trips = converged[:-PLANTED]
    if not trips.any():
        raise CheckFailed(
            f"{name} solves none of {len(trips)} targets that {solve.output!r} takes in the domain of {solve.input!r}: "
            "leave it out of solve, or restrict the domain to where the one is monotone in the other"
        )
    return {"targets": len(trips), "solved": int(trips.sum()), "worst_residual": worst}


def _require_right(
    spec: PackageSpec, name: str, each: SolveSpec, others: Arrays, target: np.ndarray, outputs: Arrays
) -> float:
    """Compare the rows that are solved with the model, and return their largest residual."""
    solve, picked = each.solve, outputs[CONVERGED]
    x = {key: (others | {solve.input: outputs[solve.input]})[key][picked] for key in spec.function.inputs}
    solutions = _flat(x[solve.input])[:, 0]
    if ((solutions < each.lower) | (solutions > each.upper)).any():
        raise CheckFailed(f"{name} returns {solve.input!r} outside of its domain, {each.lower} to {each.upper}")
    f, gradients = _eagerly(spec, each, x)
    eps = eps_of(str(f.dtype))
    felt = sum(np.abs(_flat(x[key] * part)).sum(axis=1) for key, part in gradients.items())
    goal = _flat(target[picked])[:, 0]
    allowed = max(solve.tolerance, 0.0) + ROUNDING * eps * (np.abs(f) + np.abs(goal) + felt)
    residual = _flat(outputs[RESIDUAL])[picked][:, 0]
    for what, away in (("f(x) - target", f - goal), ("its residual", residual - (f - goal))):
        if (np.abs(away) > allowed).any():
            row = int((np.abs(away) / allowed).argmax())
            raise CheckFailed(f"{name} has {what} off by {away[row]:.3g} in a row that it calls converged ({row})")
    slope = gradients[solve.input].reshape(-1).astype(np.float64)
    noise = eps * np.abs(slope).max(initial=0.0)
    for key, tensor in solve.derivatives.items():
        one = np.ones(len(slope)) if key == solve.output else -gradients.get(key, np.zeros_like(x[key]))
        above = _flat(np.asarray(one, np.float64))
        with np.errstate(all="ignore"):
            expected = above / slope[:, None]
            rounding = np.abs(expected) * (eps + noise / np.abs(slope))[:, None]
            rounding += eps * np.abs(above).max(axis=0, initial=0.0) / np.abs(slope)[:, None]
            away = np.abs(_flat(outputs[tensor])[picked] - expected)
        counts = np.isfinite(expected) & (away > ROUNDING * rounding)
        if counts.any():
            row = int(counts.any(axis=1).argmax())
            raise CheckFailed(
                f"{tensor!r} of {name} is {_flat(outputs[tensor])[picked][row]} where the model's gradient gives "
                f"{expected[row]}, in row {row}"
            )
    return float(np.abs(residual).max(initial=0.0))


def _eagerly(spec: PackageSpec, each: SolveSpec, x: Arrays) -> tuple[np.ndarray, Arrays]:
    """Return the output ``(rows,)`` and its gradients, by a plain tape on the CPU."""
    output = each.solve.output
    wrt = [key for key in spec.function.wrt if (output, key) not in spec.zeros]
    with tf.device("CPU:0"):
        tensors = {key: tf.constant(array) for key, array in x.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([tensors[key] for key in wrt])
            f = spec.function.call(tensors)[output]
        gradients = tape.gradient(f, {key: tensors[key] for key in wrt}, unconnected_gradients=ZERO)
        return f.numpy().reshape(-1), {key: np.asarray(tf.convert_to_tensor(part)) for key, part in gradients.items()}


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), prod(array.shape[1:]))
