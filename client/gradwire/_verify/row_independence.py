"""Check 4: a row's results depend on that row alone, in whatever batch it comes.

The same 1,000 rows go in as one batch; then the first 1, 7 and 64 of them; then 64 in another order, among other rows,
and beside rows of NaN. Every tensor of every signature must give each row the same numbers to 32 eps of that tensor's
scale, its largest magnitude over all rows (or to eight times its rounding on both sides, where more was measured).
Why 32 and not 0 is told in ``_numerics/batches.py``.

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
from gradwire._numerics import ALLOWED_EPS, SAFETY, Batch, eps_of, largest, poisoned, sample_points
from gradwire._package import BY_NAME, HESSIAN, HVP, JVP, SERVING_DEFAULT, VALUE, VJP
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
SIGNATURES: Final = (SERVING_DEFAULT, VALUE, JVP, VJP, HVP, HESSIAN)
# Numbers in an answer: a thousand rows of a large second derivative would be gigabytes and say nothing more.
_MOST_NUMBERS: Final = 50_000_000


class _Worst(NamedTuple):
    """The worst disagreement: in units of what is allowed, in eps of the scale, of which tensor, where."""

    units: float
    eps: float
    tensor: str
    where: str

    def finding(self, text: str) -> Finding:
        """Return the line of the table."""
        note = f"largest difference {self.eps:.2g} eps of {self.tensor}'s scale, {self.where}"
        return Finding(text, self.units, self.tensor if self.units > 1 else "", note)


@final
@dataclass(frozen=True, slots=True)
class _Whole:
    """What a signature gives to all the rows at once, and what other batches may differ from it.

    Attributes:
        signature: which.
        rows: its inputs.
        outputs: its outputs.
        allowed: by output, in eps of its largest magnitude.
    """

    signature: Signature
    rows: Rows
    outputs: Rows
    allowed: Mapping[str, float]

    def compare(self, batch: Batch, outputs: Rows) -> _Worst:
        """Return the worst difference of rows that came in another batch."""
        dtypes = {name: spec.dtype for name, spec in self.signature.outputs.items()}
        differences = batch.compare(self.outputs, outputs, dtypes)
        return max(
            (
                _Worst(found.eps / self.allowed[name], found.eps, name, batch.label)
                for name, found in differences.items()
            ),
            default=_Worst(0.0, 0.0, next(iter(outputs)), batch.label),
        )


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
    """Return 32 eps, or eight times the rounding of both sides where that was measured to be more."""
    measured = answers.others.get(name, answers.default)
    allowed: dict[str, float] = {}
    for tensor, spec in answers.subject.model.signatures[name].outputs.items():
        scale = float(largest(measured.values[tensor]).max(initial=0.0))
        eps = scale * eps_of(spec.dtype)
        rounding = float(measured.noise[tensor].max(initial=0.0)) / eps if eps > 0 else 0.0
        allowed[tensor] = max(ALLOWED_EPS, 2 * SAFETY * rounding)
    return allowed


def _in_other_batches(subject: Subject, whole: _Whole, sizes: list[int]) -> Finding:
    order = subject.rng.permutation(max(sizes))[: BATCH_SIZES[-2]]
    batches = [
        *(Batch.part(f"{size} rows", whole.rows, np.arange(size)) for size in sizes[:-1]),
        Batch.part("in another order", whole.rows, order),
    ]
    name = whole.signature.name
    worst = max(whole.compare(batch, subject.run(name, batch.rows)) for batch in batches)
    return worst.finding(f"{name}: {', '.join(map(str, sizes))} rows, and another order")


def _beside_nan(subject: Subject, whole: _Whole, count: int) -> Iterator[Finding]:
    if count == 1:
        return
    rows = {name: array[:count] for name, array in whole.rows.items()}
    neighbours = rows | poisoned({name: rows[name] for name in subject.v})
    batch = Batch.beside("beside NaN", whole.rows, np.arange(0, count, 2), neighbours)
    text = f"{whole.signature.name}: beside rows of NaN"
    try:
        outputs = subject.run(whole.signature.name, batch.rows)
    except ServerError as error:
        yield Finding(text, note=f"the model refuses NaN: {_brief(error)}")
        return
    yield whole.compare(batch, outputs).finding(text)


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
