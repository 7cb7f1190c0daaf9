"""The same 19 points of log x, the same 1-20-20-1 network, the same time: ours and the rivals from the registry.

``make bench-rivals`` builds the rivals' environments; one that is missing is a row that says so.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks._report import Report
from benchmarks._rivals import BOTH, RIVALS, Driver, started
from gradwire_training import Result, fit, problems

MARKS = (0.5, 1.0, 2.0, 5.0)  # seconds
SEEDS = range(5)
ENDLESS = 10**6  # steps: the clock ends a fit, where the default would after 4,000
WARM_UP = 0.3  # seconds of a first, discarded fit of each loss, as in the drivers
LOG = problems.get("log")
OURS = "gradwire"
MISSING = "not installed: make bench-rivals"
TITLES = {"value": "values alone", "sobolev": "values and derivatives"}

Errors = tuple[float, float]  # max abs(f - log x), max abs(df/dx - 1/x); infinite where there is no answer


@dataclass(frozen=True)
class Run:
    """One fit: who, which loss, which seed, and the errors at each mark."""

    label: str
    loss: str
    seed: int
    errors: tuple[Errors, ...]


def main(*, write: bool) -> None:
    began = time.perf_counter()
    drivers = started(RIVALS)
    try:
        runs = list(_runs(drivers))
    finally:
        for driver in drivers.values():
            driver.close()
    minutes = (time.perf_counter() - began) / 60
    for loss in BOTH:
        _report(loss, runs, drivers, minutes).show(write=write)


def _runs(drivers: dict[str, Driver]) -> Sequence[Run]:
    """Every fit, one after another; from seed to seed the order is rotated."""
    labels = [OURS, *drivers]
    for loss in BOTH:
        _fit(loss, 0, seconds=WARM_UP)
    runs: list[Run] = []
    for seed in SEEDS:
        for label in labels[seed % len(labels) :] + labels[: seed % len(labels)]:
            losses = BOTH if label == OURS else drivers[label].rival.losses
            for loss in losses:
                errors = _ours(loss, seed) if label == OURS else _theirs(drivers[label], loss, seed)
                runs.append(Run(label, loss, seed, errors))
    return runs


def _ours(loss: str, seed: int) -> tuple[Errors, ...]:
    """Run a fit for each mark, of so many seconds plus those that building takes, measured by a fit of one step."""
    building = _fit(loss, seed, steps=1).seconds
    results = [_fit(loss, seed, seconds=building + mark, steps=ENDLESS) for mark in MARKS]
    return tuple((_known(result, "f"), _known(result, "df_dx")) for result in results)


def _fit(loss: str, seed: int, **limit: Any) -> Result:
    samples = LOG.samples()
    network = LOG.network(seed=seed, samples=samples)
    return fit(network, samples, loss=LOG.loss(loss), seed=seed, dtype="float64", **limit)


def _known(result: Result, tensor: str) -> float:
    error = result.errors[tensor]["max"]
    return math.inf if error is None else error


def _theirs(driver: Driver, loss: str, seed: int) -> tuple[Errors, ...]:
    samples = LOG.samples()
    at = LOG.truth.test_points(1_000)
    x, exact, exact_derivative = (
        table.ravel() for table in (at["x"], LOG.truth.f(at)["f"], LOG.truth.df(at)["f"]["x"])
    )
    answer = driver.ask(
        loss=loss,
        seed=seed,
        marks=MARKS,
        x=samples.x["x"].ravel().tolist(),
        y=samples.y["f"].ravel().tolist(),
        dydx=samples.dydx["f"]["x"].ravel().tolist(),
        at=x.tolist(),
    )
    if answer is None:
        return ((math.inf, math.inf),) * len(MARKS)
    return tuple(
        (_worst(value, exact), _worst(derivative, exact_derivative))
        for value, derivative in zip(answer["f"], answer["df_dx"], strict=True)
    )


def _worst(predicted: Sequence[float] | None, exact: np.ndarray) -> float:
    if predicted is None:
        return math.inf
    worst = float(np.abs(np.array(predicted) - exact).max())
    return worst if math.isfinite(worst) else math.inf


def _report(loss: str, runs: Sequence[Run], drivers: dict[str, Driver], minutes: float) -> Report:
    rows = [[OURS, *_cells(OURS, loss, runs)]]
    for rival in RIVALS:
        if loss not in rival.losses:
            continue
        if rival.label not in drivers:
            rows.append([rival.label, *[MISSING] * (len(MARKS) + 1)])
        elif failure := drivers[rival.label].failure:
            rows.append([rival.label, *[failure] * (len(MARKS) + 1)])
        else:
            rows.append([_named(drivers[rival.label]), *_cells(rival.label, loss, runs)])
    return Report(
        name=f"training_rivals_{loss}",
        title=f"log x from 19 points, {TITLES[loss]}, at equal time",
        method=(
            f"max abs(f - log x) / max abs(df/dx - 1/x) on 1,000 points of [0.1, 1.9], medians of seeds {SEEDS.start} to "
            f"{SEEDS[-1]}; 1-20-20-1. A rival's clock runs from its first step, with everything imported, built and "
            "compiled; what it has at a mark are the weights of the smallest loss it saw until then, in one run. Ours is "
            "a float64 fit for each mark, of so many seconds after those that a fit of one step takes. One after another, order rotated "
            f"from seed to seed; {minutes:.0f} minutes in all. Settings of the rivals: benchmarks/rivals/*_driver.py. "
            + _verdict(loss, runs)
        ),
        columns=["way", *(f"{mark:g} s" for mark in MARKS), f"{MARKS[-1]:g} s, smallest to largest"],
        rows=rows,
        data=[[run.label, run.seed, run.errors] for run in runs if run.loss == loss],
    )


def _named(driver: Driver) -> str:
    package, version = next(iter(driver.versions.items()))
    return f"{driver.rival.label} ({package} {version})"


def _cells(label: str, loss: str, runs: Sequence[Run]) -> list[str]:
    last = [run.errors[-1] for run in runs if run.label == label and run.loss == loss]
    ranges = (f"{min(column):.1e} to {max(column):.1e}" for column in zip(*last, strict=True))
    return [*(_pair(_median(label, loss, mark, runs)) for mark in range(len(MARKS))), " / ".join(ranges)]


def _median(label: str, loss: str, mark: int, runs: Sequence[Run]) -> Errors:
    at_mark = [run.errors[mark] for run in runs if run.label == label and run.loss == loss]
    value, exact_derivative = (statistics.median(column) for column in zip(*at_mark, strict=True))
    return value, exact_derivative


def _pair(errors: Errors) -> str:
    return " / ".join(f"{error:.1e}" for error in errors)


def _verdict(loss: str, runs: Sequence[Run]) -> str:
    """Say where a rival is below us, if anywhere."""
    labels = [label for label in dict.fromkeys(run.label for run in runs if run.loss == loss) if label != OURS]
    lost = [
        f"{label} at {mark:g} s in {name}"
        for label in labels
        for index, mark in enumerate(MARKS)
        for name, ours, theirs in zip(
            ("f", "df/dx"), _median(OURS, loss, index, runs), _median(label, loss, index, runs), strict=True
        )
        if theirs <= ours
    ]
    if lost:
        return f"Below ours: {'; '.join(lost)}."
    return "Ours is below every rival that ran, at every mark, in both columns." if labels else "No rival ran."
