"""A load test: timed calls of one query from several threads."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._cli.query.request import Query
from gradwire._errors import UsageError
from gradwire._model import Model
from gradwire._numerics import sample_points
from gradwire._package import CARD, SERVING_DEFAULT, Box, TensorSpec, boxes_of, numpy_dtype, row_to_fill

NUMERIC: Final = "fiu"


@final
@dataclass(frozen=True, slots=True)
class LoadTestResult:
    """The measurement of calls of one size at one concurrency.

    Attributes:
        rows: points in each call.
        in_flight: concurrent calls.
        seconds: from the start of the first call to the end of the last.
        latencies: seconds of each call, sorted.
    """

    rows: int
    in_flight: int
    seconds: float
    latencies: tuple[float, ...]

    @property
    def calls(self) -> int:
        """Number of calls."""
        return len(self.latencies)

    @property
    def calls_per_second(self) -> float:
        """Calls per second of wall-clock time."""
        return self.calls / self.seconds

    def quantile(self, fraction: float) -> float:
        """Return the smallest latency, in seconds, that this fraction of the calls did not exceed."""
        return self.latencies[max(0, math.ceil(fraction * self.calls) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as JSON data."""
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


def draw_points(model: Model, query: Query, rows: int, seed: int) -> dict[str, NDArray[Any]]:
    """Draw points in the domain on the card, and directions in [-1, 1]; targets are the values at such points.

    Args:
        model: whose card has the domain; without a card it is [-1, 1].
        query: whose inputs to draw.
        rows: number of points.
        seed: of the random generator.

    Returns:
        ``{input: (rows, *row)}`` in the inputs' own dtypes.

    Raises:
        UsageError: an input is not numeric.
    """
    boxes = boxes_of(model.card, None) if CARD in model.signatures else {}
    rng = np.random.default_rng(seed)
    solve = model.card.solves.get(query.signature.name) if boxes else None
    specs = query.signature.inputs if solve is None else model.signatures[SERVING_DEFAULT].inputs
    points = {name: _draw(spec, boxes.get(name), rows, rng) for name, spec in specs.items()}
    if solve is None:
        return points
    values = model.run(SERVING_DEFAULT, points, [solve.output])
    return {name: (points | values)[name] for name in query.signature.inputs}


def _draw(spec: TensorSpec, box: Box | None, rows: int, rng: np.random.Generator) -> NDArray[Any]:
    dtype = numpy_dtype(spec.name, spec.dtype)
    if dtype.kind not in NUMERIC:
        raise UsageError(
            f"input {spec.name!r} is {spec.dtype}, and random points need a numeric input: time Model.predict yourself"
        )
    row = row_to_fill(spec.name, spec.row_shape)
    lower, upper = box if box is not None else (-np.ones(row), np.ones(row))
    return sample_points(Box(lower.reshape(row), upper.reshape(row)), rows, dtype, rng)


def run_load_test(
    model: Model, query: Query, points: Mapping[str, NDArray[Any]], *, in_flight: int, seconds: float
) -> LoadTestResult:
    """Call a model for a while, after one call that is not measured.

    Args:
        model: the model to call.
        query: what to call.
        points: the inputs of every call.
        in_flight: concurrent calls, each from a thread of its own.
        seconds: after which no call starts, counted from the unmeasured call; each thread makes at least one.

    Raises:
        GradwireError: a call failed; the other threads finish theirs first.
    """
    end = time.perf_counter() + seconds
    failed = threading.Event()

    def call() -> float:
        start = time.perf_counter()
        model.run(query.signature.name, points, query.outputs)
        return time.perf_counter() - start

    def call_until_end() -> list[float]:
        latencies: list[float] = []
        try:
            while not failed.is_set() and (not latencies or time.perf_counter() < end):
                latencies.append(call())
        except BaseException:
            failed.set()
            raise
        return latencies

    call()
    start = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as threads:
        running = [threads.submit(call_until_end) for _ in range(in_flight)]
        latencies = sorted(latency for each in running for latency in each.result())
    rows = len(next(iter(points.values())))
    return LoadTestResult(rows, in_flight, time.perf_counter() - start, tuple(latencies))
