"""NaN in an input does not come out as a finite number.

For each differentiated input in turn, a row of it becomes NaN, then +∞, then -∞.

- NaN: an output that depends on that input and stays finite is reported: a number that looks like a result. A ReLU does
  that, for NaN > 0 is false. It says nothing about derivatives, so it fails nothing; export's ``nan_guard`` has such
  rows return NaN. An element depends on the input if some df of it is not zero.
- ±∞: a finite output is right where a function saturates (a sigmoid's 1), so it is reported and not judged.
- A derivative that stays finite at NaN is reported and not judged: a ReLU's is 0 there, for NaN > 0 is false; the
  output beside it in the same response is NaN.
- A model may refuse such a row (a Cholesky factor of NaN): an error is a valid response. It must serve the next call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import ServerError
from gradwire._numerics import ALLOWED_EPS, SAFETY, TINY, flat_rows, largest, worst_ratio
from gradwire._package import SERVING_DEFAULT
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.probe import brief
from gradwire._verify.result import Finding

Floats = NDArray[np.float64]

_ROWS: Final = 4  # of each kind: enough, for every row of a kind is alike


def non_finite(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Feed NaN and infinities, and look whether the model still responds as before."""
    for name in evaluations.probe.v:
        yield from _nan(evaluations, name)
        yield from _infinite(evaluations, name)
    yield _same_afterwards(evaluations)


def _nan(evaluations: SignatureEvaluations, name: str) -> Iterator[Finding]:
    text = f"{name} = NaN"
    outputs = _run_with(evaluations, name, np.nan)
    if isinstance(outputs, str):
        yield Finding(text, note=f"the model refuses it: {outputs}")
        return
    finite = _finite(evaluations, name, outputs)
    for output in finite:
        note = (
            f"{output} is finite, and depends on it: a ReLU takes NaN for 0; export with --nan-guard to have NaN there"
        )
        yield Finding(text, note=note)
    if not finite:
        yield Finding(text, note="gives NaN in every output that depends on it")
    still = [tensor for tensor in _varying(evaluations, name) if np.isfinite(outputs[tensor]).all()]
    if still:
        yield Finding(text, note=f"{', '.join(still)} finite: a branch, such as a ReLU's, takes NaN for 0")


def _infinite(evaluations: SignatureEvaluations, name: str) -> Iterator[Finding]:
    saturated: list[str] = []
    for value, sign in ((np.inf, "+∞"), (-np.inf, "-∞")):
        outputs = _run_with(evaluations, name, value)
        if isinstance(outputs, str):
            yield Finding(f"{name} = {sign}", note=f"the model refuses it: {outputs}")
            continue
        saturated += [f"{output} at {sign}" for output in _finite(evaluations, name, outputs)]
    note = f"finite: {', '.join(saturated)}: the function saturates" if saturated else "gives no finite output"
    yield Finding(f"{name} = ±∞", note=note)


def _same_afterwards(evaluations: SignatureEvaluations) -> Finding:
    """Run the same rows once more: nothing of the above may linger."""
    probe, before = evaluations.probe, evaluations.default.values
    worst = {
        name: _change(evaluations, name, flat_rows(array), before[name])
        for name, array in probe.run(SERVING_DEFAULT, probe.x).items()
    }
    tensor = max(worst, key=lambda key: worst[key])
    failing = tensor if worst[tensor] > 1 else ""
    return Finding("same outputs afterwards", worst[tensor], failing, signatures=(SERVING_DEFAULT,))


def _change(evaluations: SignatureEvaluations, tensor: str, values: Floats, before: Floats) -> float:
    """Compare a tensor with what it was: 32 eps of its scale, or its rounding where more was measured."""
    least = ALLOWED_EPS * evaluations.probe.eps * np.maximum(largest(before), TINY)
    return worst_ratio(values, before, np.maximum(least, 2 * SAFETY * evaluations.default.noise[tensor]))


def _run_with(evaluations: SignatureEvaluations, name: str, value: float) -> dict[str, Floats] | str:
    """Run some rows with one input set to a value; return the outputs, or the model's refusal."""
    rows = {key: array[:_ROWS].copy() for key, array in evaluations.probe.x.items()}
    rows[name][...] = value
    try:
        outputs = evaluations.probe.run(SERVING_DEFAULT, rows)
    except ServerError as error:
        return brief(error)
    return {key: flat_rows(array) for key, array in outputs.items()}


def _finite(evaluations: SignatureEvaluations, name: str, outputs: dict[str, Floats]) -> list[str]:
    """Return the outputs of which an element is finite and depends on an input."""
    return [
        each.output.name
        for each in evaluations.probe.derivatives()
        if each.input.name == name
        and (
            np.isfinite(outputs[each.output.name]).any(axis=0) & (evaluations.jacobian(each) != 0).any(axis=(0, 2))
        ).any()
    ]


def _varying(evaluations: SignatureEvaluations, name: str) -> list[str]:
    """Return the derivatives that change when this input alone does."""
    probe = evaluations.probe
    rows = {key: np.roll(array, 1, axis=0) if key == name else array for key, array in probe.x.items()}
    outputs = probe.run(SERVING_DEFAULT, rows)
    return [
        each.tensor
        for each in probe.derivatives()
        if _change(evaluations, each.tensor, flat_rows(outputs[each.tensor]), evaluations.default.values[each.tensor])
        > 1
    ]
