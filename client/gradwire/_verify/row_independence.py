"""Check 4: a row's results depend on that row alone, in whatever batch it comes.

The same 1,000 rows go in as one batch; then the first 1, 7 and 64 of them; then 64 in another order, among other rows,
and beside rows of NaN. Every tensor of every signature must give each row the same numbers to 32 eps of that tensor's
scale, its largest magnitude over all rows (or to eight times its rounding on both sides, where more was measured).

Why 32 and not 0: TensorFlow picks other kernels, and so other orders of summation, for other batch sizes; eight good
models moved by up to 4.3 eps, fourteen coupled ones by far more than 32 (measured, docs/proof.md), so that equality bit
by bit is the wrong test.

No rows at all must give empty arrays of the right shape. They are tried in process alone: a request of no rows stays in
the queue of a TensorFlow Serving that batches until another request comes, past its deadline, so none is sent there, by
this check or by any ``Model``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

import numpy as np

from gradwire._errors import GradwireError, ServerError
from gradwire._numerics import SAFETY, sample_points
from gradwire._package import BY_NAME, HESSIAN, HVP, JVP, SERVING_DEFAULT, VALUE, VJP
from gradwire._verify.probe import eps_of, largest, numbers, units
from gradwire._verify.result import Finding
from gradwire._verify.runs import run_no_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gradwire._package import Signature
    from gradwire._verify.evaluations import Answers
    from gradwire._verify.probe import Subject

    Rows = dict[str, NDArray[Any]]

BATCH_SIZES: Final = (1, 7, 64, 1000)
ALLOWED_EPS: Final = 32.0  # see above
SIGNATURES: Final = (SERVING_DEFAULT, VALUE, JVP, VJP, HVP, HESSIAN)
# Numbers in an answer: a thousand rows of a large second derivative would be gigabytes and say nothing more.
_MOST_NUMBERS: Final = 50_000_000


@final
@dataclass(frozen=True, slots=True)
class _Whole:
    """What a signature gives to all the rows at once, and what other batches may differ from it.

    Attributes:
        signature: which.
        rows: its inputs.
        found: its outputs.
        allowed: by output, as a part of its largest magnitude.
    """

    signature: Signature
    rows: Rows
    found: Rows
    allowed: Mapping[str, float]

    def part(self, picked: Any) -> Rows:
        """Some of the rows."""
        return {name: array[picked] for name, array in self.rows.items()}

    def compare(self, where: str, found: Rows, picked: NDArray[Any]) -> _Worst:
        """Compares rows that came in another batch with the same rows in the whole one."""
        worst = _Worst(0.0, 0.0, next(iter(found)), where)
        for name, array in found.items():
            if array.dtype.kind == "f":
                whole = numbers(self.found[name])
                eps = eps_of(self.signature.outputs[name].dtype)
                scale = np.maximum(largest(whole).max(initial=0.0), np.finfo(array.dtype).tiny)
                away = units(numbers(array), whole[picked], np.full((1, 1), scale))
                worst = max(worst, _Worst(away / self.allowed[name], away / eps, name, where))
        return worst


class _Worst(NamedTuple):
    """The worst disagreement: in units of what is allowed, in eps of the scale, of which tensor, where."""

    units: float
    eps: float
    tensor: str
    where: str

    def finding(self, text: str) -> Finding:
        """The line of the table."""
        note = f"largest difference {self.eps:.2g} eps of {self.tensor}'s scale, {self.where}"
        return Finding(text, self.units, self.tensor if self.units > 1 else "", note)


def row_by_row(answers: Answers) -> Iterator[Finding]:
    """Runs every signature on the same rows in other batches."""
    subject = answers.subject
    for name in SIGNATURES:
        if subject.has(name):
            signature = subject.model.signatures[name]
            sizes = [size for size in BATCH_SIZES if size * _numbers_a_row(signature) <= _MOST_NUMBERS] or [1]
            rows = _draw(subject, signature, max(sizes))
            whole = _Whole(signature, rows, subject.run(name, rows), _allowed(answers, name))
            yield _in_other_batches(subject, whole, sizes)
            yield from _beside_nan(subject, whole, min(max(sizes), BATCH_SIZES[-2]))
    yield from _no_rows(subject)


def _allowed(answers: Answers, name: str) -> dict[str, float]:
    """32 eps, or eight times the rounding of both sides where that was measured to be more."""
    measured = answers.others.get(name, answers.default)
    allowed: dict[str, float] = {}
    for tensor, spec in answers.subject.model.signatures[name].outputs.items():
        scale = float(largest(measured.values[tensor]).max(initial=0.0))
        rounding = float(measured.noise[tensor].max(initial=0.0)) / scale if scale > 0 else 0.0
        allowed[tensor] = max(ALLOWED_EPS * eps_of(spec.dtype), 2 * SAFETY * rounding)
    return allowed


def _in_other_batches(subject: Subject, whole: _Whole, sizes: list[int]) -> Finding:
    name, worst = whole.signature.name, list[_Worst]()
    for size in sizes[:-1]:
        found = subject.run(name, whole.part(slice(size)))
        worst.append(whole.compare(f"{size} rows", found, np.arange(size)))
    order = subject.rng.permutation(max(sizes))[: BATCH_SIZES[-2]]
    worst.append(whole.compare("in another order", subject.run(name, whole.part(order)), order))
    return max(worst).finding(f"{name}: {', '.join(map(str, sizes))} rows, and another order")


def _beside_nan(subject: Subject, whole: _Whole, count: int) -> Iterator[Finding]:
    if count == 1:
        return
    spoilt = {name: array.copy() for name, array in whole.part(slice(count)).items()}
    for name in subject.v:
        spoilt[name][1::2] = np.nan
    kept = np.arange(0, count, 2)
    text = f"{whole.signature.name}: beside rows of NaN"
    try:
        found = subject.run(whole.signature.name, spoilt)
    except ServerError as error:
        yield Finding(text, note=f"the model refuses NaN: {_brief(error)}")
        return
    yield whole.compare("beside NaN", {name: array[kept] for name, array in found.items()}, kept).finding(text)


def _draw(subject: Subject, signature: Signature, count: int) -> Rows:
    """Draws rows for every input of a signature; tangents and cotangents too."""
    rows: Rows = {}
    for name, spec in signature.inputs.items():
        dtype = BY_NAME[spec.dtype].numpy
        if name in subject.boxes:
            rows[name] = sample_points(subject.boxes[name], count, dtype, subject.rng)
        else:
            shape = (count, *(size or 1 for size in spec.row_shape))
            rows[name] = subject.rng.uniform(-1.0, 1.0, shape).astype(dtype)
    return rows


def _numbers_a_row(signature: Signature) -> int:
    return sum(
        int(np.prod([size or 1 for size in spec.row_shape], dtype=np.int64)) for spec in signature.outputs.values()
    )


def _no_rows(subject: Subject) -> Iterator[Finding]:
    """Runs every signature on no rows, where that is safe."""
    for name in SIGNATURES:
        if not subject.has(name):
            continue
        signature = subject.model.signatures[name]
        rows = {key: array[:0] for key, array in _draw(subject, signature, 1).items()}
        try:
            found = run_no_rows(subject.model, signature, rows)
        except GradwireError as error:
            yield Finding(f"{name}: no rows", note=f"the model refuses them: {_brief(error)}")
            continue
        if found is None:
            yield Finding("no rows", note="not sent to a server: one that batches would let them wait for ever")
            return
        wrong = [key for key, spec in signature.outputs.items() if found[key].shape != (0, *spec.row_shape)]
        yield Finding(f"{name}: no rows", math.inf if wrong else 0.0, ", ".join(wrong))


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]
