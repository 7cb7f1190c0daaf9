"""Calls of one model from several threads for a while, each of them timed."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._errors import UsageError
from gradwire._numerics import sample_points
from gradwire._package import BY_NAME, Box, boxes_of, contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gradwire._cli.query import Question
    from gradwire._model import Model
    from gradwire._package import TensorSpec

NUMERIC: Final = "fiu"


@final
@dataclass(frozen=True, slots=True)
class Load:
    """What was measured with calls of one size, so many of them under way at once.

    Attributes:
        rows: of each call.
        in_flight: calls under way at once.
        seconds: from the first call's start to the last one's end.
        latencies: seconds of each call, sorted.
    """

    rows: int
    in_flight: int
    seconds: float
    latencies: tuple[float, ...]

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return len(self.latencies)

    @property
    def calls_per_second(self) -> float:
        """Calls answered, by the clock on the wall."""
        return self.calls / self.seconds

    def quantile(self, share: float) -> float:
        """The smallest latency that so large a share of the calls did not exceed, in seconds."""
        return self.latencies[max(0, math.ceil(share * self.calls) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """Gives the numbers for JSON."""
        return {
            "rows": self.rows,
            "in_flight": self.in_flight,
            "calls": self.calls,
            "seconds": self.seconds,
            "calls_per_second": self.calls_per_second,
            "rows_per_second": self.calls_per_second * self.rows,
            "p50_ms": 1e3 * self.quantile(0.5),
            "p99_ms": 1e3 * self.quantile(0.99),
            "max_ms": 1e3 * self.quantile(1.0),
        }


def points_for(model: Model, question: Question, rows: int, seed: int) -> dict[str, NDArray[Any]]:
    """Draws points in the domain of the card, and directions in [-1, 1].

    Args:
        model: whose card says the domain; [-1, 1] without one.
        question: whose inputs are drawn.
        rows: how many points.
        seed: of the draw.

    Returns:
        ``{input: (rows, *row)}`` in the inputs' own dtypes.

    Raises:
        UsageError: an input is not one of numbers.
    """
    boxes = boxes_of(model.card, None) if contract.CARD in model.signatures else {}
    rng = np.random.default_rng(seed)
    return {name: _draw(spec, boxes.get(name), rows, rng) for name, spec in question.signature.inputs.items()}


def _draw(spec: TensorSpec, box: Any, rows: int, rng: np.random.Generator) -> NDArray[Any]:
    dtype = BY_NAME[spec.dtype].numpy
    if dtype.kind not in NUMERIC:
        raise UsageError(f"input {spec.name!r} is {spec.dtype}: only points of numbers can be drawn")
    row = tuple(size or 1 for size in spec.row_shape)
    lower, upper = box if box is not None else (-np.ones(row), np.ones(row))
    return sample_points(Box(lower.reshape(row), upper.reshape(row)), rows, dtype, rng)


def put_load(
    model: Model, question: Question, points: Mapping[str, NDArray[Any]], *, in_flight: int, seconds: float
) -> Load:
    """Calls a model for a while, after one call that is not counted.

    Args:
        model: what is called, from so many threads.
        question: what is asked.
        points: of every call.
        in_flight: calls under way at once.
        seconds: when no further call begins, the uncounted one included; at least one call a thread is made.

    Returns:
        The measurement.

    Raises:
        GradwireError: a call failed; the others end first.
    """
    end = time.perf_counter() + seconds
    failed = threading.Event()

    def call() -> float:
        began = time.perf_counter()
        model.run(question.signature.name, points, question.shown)
        return time.perf_counter() - began

    def keep_calling() -> list[float]:
        latencies: list[float] = []
        try:
            while not failed.is_set() and (not latencies or time.perf_counter() < end):
                latencies.append(call())
        except BaseException:
            failed.set()
            raise
        return latencies

    call()
    began = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as threads:
        running = [threads.submit(keep_calling) for _ in range(in_flight)]
        latencies = sorted(latency for each in running for latency in each.result())
    rows = len(next(iter(points.values())))
    return Load(rows, in_flight, time.perf_counter() - began, tuple(latencies))
