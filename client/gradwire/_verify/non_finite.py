"""Check 5: what goes in as NaN does not come out as a number.

For each differentiated input in turn, a row of it becomes NaN, then +∞, then -∞.

- NaN: every number of every output that depends on that input must be NaN or infinite: a finite one would be garbage
  that looks like an answer. Dependence is told from df: some df of that number is not zero.
- ±∞: a finite output is right where a function saturates (a sigmoid's 1), so it is reported and not judged.
- A derivative that stays finite at NaN is reported and not judged: a ReLU's is 0 there, for NaN > 0 is false; the
  output beside it in the same answer is NaN and says so.
- A model may refuse such a row (a Cholesky factor of NaN): an error is an answer. It must answer the next call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._errors import ServerError
from gradwire._numerics import ALLOWED_EPS, flat_rows, largest, worst_ratio
from gradwire._package import SERVING_DEFAULT
from gradwire._verify.result import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gradwire._verify.evaluations import Answers

    Floats = NDArray[np.float64]

_ROWS: Final = 4  # of each kind: enough, for every row of a kind is alike


def non_finite(answers: Answers) -> Iterator[Finding]:
    """Feeds NaN and infinities, and looks whether the model still answers afterwards."""
    for name in answers.subject.v:
        yield from _nan(answers, name)
        yield from _infinite(answers, name)
    yield _answers_again(answers)


def _nan(answers: Answers, name: str) -> Iterator[Finding]:
    found = _fed(answers, name, np.nan)
    if isinstance(found, str):
        yield Finding(f"{name} = NaN", note=f"the model refuses it: {found}")
        return
    finite: list[str] = []
    for output, depends in _dependence(answers, name).items():
        garbage = np.isfinite(found[output]).any(axis=0) & depends
        if garbage.any():
            finite.append(output)
            yield Finding(f"{name} = NaN", None, output, f"{output} is finite, and depends on it", failed=True)
    if not finite:
        yield Finding(f"{name} = NaN", note="gives NaN in every output that depends on it")
    varies = _varying(answers, name)
    still = [tensor for tensor in varies if np.isfinite(found[tensor]).all()]
    if still:
        yield Finding(f"{name} = NaN", note=f"{', '.join(still)} finite: a branch, such as a ReLU's, takes NaN for 0")


def _infinite(answers: Answers, name: str) -> Iterator[Finding]:
    saturated: list[str] = []
    for value, text in ((np.inf, "+∞"), (-np.inf, "-∞")):
        found = _fed(answers, name, value)
        if isinstance(found, str):
            yield Finding(f"{name} = {text}", note=f"the model refuses it: {found}")
            continue
        saturated += [
            f"{output} at {text}"
            for output, depends in _dependence(answers, name).items()
            if (np.isfinite(found[output]).any(axis=0) & depends).any()
        ]
    if saturated:
        yield Finding(f"{name} = ±∞", note=f"finite: {', '.join(saturated)}: the function saturates")
    else:
        yield Finding(f"{name} = ±∞", note="gives no finite output")


def _answers_again(answers: Answers) -> Finding:
    """The same rows once more: nothing of the above may linger."""
    subject = answers.subject
    again = {name: flat_rows(array) for name, array in subject.run(SERVING_DEFAULT, subject.x).items()}
    worst: Mapping[str, float] = {
        name: worst_ratio(
            array, answers.default.values[name], ALLOWED_EPS * subject.eps * np.maximum(largest(array), _TINY)
        )
        for name, array in again.items()
    }
    tensor = max(worst, key=lambda key: worst[key])
    return Finding("answers as before afterwards", worst[tensor], tensor if worst[tensor] > 1 else "")


_TINY: Final = float(np.finfo(np.float64).tiny)


def _fed(answers: Answers, name: str, value: float) -> dict[str, Floats] | str:
    rows = {key: array[:_ROWS].copy() for key, array in answers.subject.x.items()}
    rows[name][...] = value
    try:
        found = answers.subject.run(SERVING_DEFAULT, rows)
    except ServerError as error:
        return (str(error).strip().splitlines() or [""])[0][:120]
    return {key: flat_rows(array) for key, array in found.items()}


def _dependence(answers: Answers, name: str) -> dict[str, NDArray[np.bool_]]:
    """Which numbers of which outputs depend on an input."""
    return {
        pair.output.name: (answers.jacobian(pair) != 0).any(axis=(0, 2))
        for pair in answers.subject.pairs()
        if pair.input.name == name
    }


def _varying(answers: Answers, name: str) -> list[str]:
    """The derivatives that change when this input alone does."""
    rows = {key: np.roll(array, 1, axis=0) if key == name else array for key, array in answers.subject.x.items()}
    found = answers.subject.run(SERVING_DEFAULT, rows)
    changed: list[str] = []
    for pair in answers.subject.pairs():
        before = answers.default.values[pair.tensor]
        allowed = ALLOWED_EPS * answers.subject.eps * np.maximum(largest(before), _TINY)
        if worst_ratio(flat_rows(found[pair.tensor]), before, allowed) > 1:
            changed.append(pair.tensor)
    return changed
