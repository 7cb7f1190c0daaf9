"""A row's results depend on that row alone, in whatever batch it comes.

The same 1,000 rows go in as one batch; then the first 1, 7 and 64 of them; then 64 in another order, among other rows,
and beside rows of NaN. Every tensor of every signature must give each row the same numbers to 32 eps of that tensor's
scale, its largest magnitude over all rows (or to eight times its rounding on both sides, where more was measured).
``_numerics/batches.py`` tells why 32 and not 0.

No rows at all must give empty arrays of the right shape. They are tried in process alone: a request of no rows stays in
the queue of a TensorFlow Serving that batches until another request comes, past its deadline, so none is sent there, by
this check or by any ``Model``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import GradwireError, ServerError
from gradwire._numerics import ALLOWED_EPS, SAFETY, Batch, eps_of, largest, poisoned, sample_points
from gradwire._package import Signature, numpy_dtype, row_to_fill
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.probe import Probe, brief, run_no_rows
from gradwire._verify.result import Finding

Arrays = dict[str, NDArray[Any]]

BATCH_SIZES: Final = (1, 7, 64, 1000)
# Elements in a response: a thousand rows of a large second derivative would be gigabytes and reveal nothing more.
_MOST_ELEMENTS: Final = 50_000_000


class _Worst(NamedTuple):
    """The worst disagreement: in units of what is allowed, in eps of the scale, of which tensor, where."""

    ratio: float
    eps: float
    tensor: str
    where: str

    def finding(self, text: str, signature: str) -> Finding:
        note = f"largest difference {self.eps:.2g} eps of {self.tensor}'s scale, {self.where}"
        return Finding(text, self.ratio, self.tensor if self.ratio > 1 else "", note, signatures=(signature,))


@final
@dataclass(frozen=True, slots=True)
class _Whole:
    """A signature's outputs for all the rows at once, and how much other batches may differ from it."""

    signature: Signature
    rows: Arrays
    outputs: Arrays
    allowed: Mapping[str, float]  # by output, in eps of its largest magnitude

    def compare(self, batch: Batch, outputs: Arrays) -> _Worst:
        """Return the worst difference of rows that came in another batch."""
        dtypes = {name: spec.dtype for name, spec in self.signature.outputs.items()}
        worst = [
            _Worst(each.eps / self.allowed[name], each.eps, name, batch.label)
            for name, each in batch.compare(self.outputs, outputs, dtypes).items()
        ]
        return max(worst, default=_Worst(0.0, 0.0, next(iter(outputs)), batch.label))


def row_independence(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Run every signature on the same rows in other batches."""
    probe = evaluations.probe
    for name in evaluations.by_signature:
        signature = probe.model.signatures[name]
        sizes = [size for size in BATCH_SIZES if size * _elements_per_row(signature) <= _MOST_ELEMENTS] or [1]
        rows = _draw(probe, signature, max(sizes))
        whole = _Whole(signature, rows, probe.run(name, rows), _allowed(evaluations, signature))
        yield _in_other_batches(probe, whole, sizes)
        yield from _beside_nan(probe, whole, min(max(sizes), BATCH_SIZES[-2]))
    yield from _no_rows(evaluations)


def _allowed(evaluations: SignatureEvaluations, signature: Signature) -> dict[str, float]:
    """32 eps, or eight times the rounding of both sides where more was measured."""
    measured = evaluations.by_signature[signature.name]
    allowed: dict[str, float] = {}
    for tensor, spec in signature.outputs.items():
        eps = eps_of(spec.dtype) * float(largest(measured.values[tensor]).max(initial=0.0))
        rounding = float(measured.noise[tensor].max(initial=0.0)) / eps if eps > 0 else 0.0
        allowed[tensor] = max(ALLOWED_EPS, 2 * SAFETY * rounding)
    return allowed


def _in_other_batches(probe: Probe, whole: _Whole, sizes: list[int]) -> Finding:
    order = probe.rng.permutation(max(sizes))[: BATCH_SIZES[-2]]
    batches = [
        *(Batch.part(f"{size} rows", whole.rows, np.arange(size)) for size in sizes[:-1]),
        Batch.part("in another order", whole.rows, order),
    ]
    name = whole.signature.name
    worst = max(whole.compare(batch, probe.run(name, batch.rows)) for batch in batches)
    return worst.finding(f"{name}: {', '.join(map(str, sizes))} rows, and another order", name)


def _beside_nan(probe: Probe, whole: _Whole, count: int) -> Iterator[Finding]:
    if count == 1:
        return
    rows = {name: array[:count] for name, array in whole.rows.items()}
    neighbours = rows | poisoned({name: rows[name] for name in probe.v})
    batch = Batch.beside("beside NaN", whole.rows, np.arange(0, count, 2), neighbours)
    text = f"{whole.signature.name}: beside rows of NaN"
    try:
        outputs = probe.run(whole.signature.name, batch.rows)
    except ServerError as error:
        yield Finding(text, note=f"the model refuses NaN: {brief(error)}")
        return
    yield whole.compare(batch, outputs).finding(text, whole.signature.name)


def _draw(probe: Probe, signature: Signature, count: int) -> Arrays:
    """Draw rows for every input of a signature, tangents and cotangents too."""
    rows: Arrays = {}
    for name, spec in signature.inputs.items():
        dtype = numpy_dtype(name, spec.dtype)
        if name in probe.boxes:
            rows[name] = sample_points(probe.boxes[name], count, dtype, probe.rng)
        else:
            shape = (count, *row_to_fill(name, spec.row_shape))
            rows[name] = probe.rng.uniform(-1.0, 1.0, shape).astype(dtype)
    return rows


def _elements_per_row(signature: Signature) -> int:
    shapes = [spec.least_row_shape for spec in signature.outputs.values()]
    return sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)


def _no_rows(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Run every signature on no rows, where that is safe."""
    probe = evaluations.probe
    for name in evaluations.by_signature:
        signature = probe.model.signatures[name]
        rows = {key: array[:0] for key, array in _draw(probe, signature, 1).items()}
        try:
            outputs = run_no_rows(probe.model, name, rows)
        except GradwireError as error:
            yield Finding(f"{name}: no rows", note=f"the model refuses them: {brief(error)}")
            continue
        if outputs is None:
            yield Finding("no rows", note="not sent to a server: one that batches would let them wait forever")
            return
        wrong = [key for key, spec in signature.outputs.items() if outputs[key].shape != (0, *spec.row_shape)]
        yield Finding(f"{name}: no rows", math.inf if wrong else 0.0, ", ".join(wrong), signatures=(name,))
