"""One package, three ways to run it in this process: TensorFlow, XLA, and kernels compiled from C."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import gradwire
from benchmarks._report import Measured, Report
from gradwire_export import export

NETWORKS = ((1, 20, 20, 1), (10, 128, 128, 1), (3, 64, 64, 200))
ROWS = (1, 64, 4_096, 65_536, 1_048_576)
LARGEST = 1 << 26  # numbers of a response: the rest of a row of the table is left out
RUNS = 11
LEAST_SECONDS = 0.02  # of a run of small calls


def main(*, write: bool) -> None:
    """Measure value and first derivatives; the time to the first answer is that of an empty cache."""
    rows = []
    for sizes in NETWORKS:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["XDG_CACHE_HOME"] = directory
            rows += _network(sizes, Path(directory))
    Report(
        name="native",
        title="Value and first derivatives in this process: TensorFlow, XLA and the native engine",
        method=(
            f"Million rows a second through `Model.value_and_grad`, float32, median (range) of {RUNS} interleaved runs; all "
            "cores. In brackets the median ratio to TensorFlow, run by run."
        ),
        columns=["network", "engine", *(f"{rows:,} rows" for rows in ROWS)],
        rows=rows,
    ).show(write=write)


def _network(sizes: tuple[int, ...], directory: Path) -> list[list[str | Measured]]:
    first, *_, last = sizes
    model, domain = network(sizes), {"x": (-1.0, 1.0)}
    export(model, to=directory / "plain", domain=domain)
    export(model, to=directory / "xla", domain=domain, compile="xla")
    models = {
        "TensorFlow": gradwire.load(directory / "plain"),
        "XLA": gradwire.load(directory / "xla"),
        "native": gradwire.load(directory / "plain", engine="native"),
    }
    random, name = np.random.default_rng(0), "-".join(map(str, sizes))
    cells: dict[str, list[str | Measured]] = {engine: [name, engine] for engine in models}
    for rows in ROWS:
        if rows * first * last > LARGEST:
            for row in cells.values():
                row.append("")
            continue
        x = random.uniform(-1, 1, (rows, first)).astype(np.float32)
        times = interleaved({engine: _call(each, x) for engine, each in models.items()}, rows)
        for engine, seconds in times.items():
            ratio = np.median([a / b for a, b in zip(times["TensorFlow"], seconds, strict=True)])
            unit, values = (
                ("µs", [1e6 * each for each in seconds])
                if rows == 1
                else ("M/s", [rows / each / 1e6 for each in seconds])
            )
            cells[engine].append(f"{Measured(tuple(values), unit)} [{ratio:.2f}]")
    for each in models.values():
        each.close()
    return list(cells.values())


def _call(model: gradwire.Model, x: np.ndarray) -> Callable[[], Any]:
    return lambda: model.value_and_grad(x)


def network(sizes: tuple[int, ...]) -> keras.Model:
    """A dense network of some widths, the first of them the inputs, with tanh between."""
    keras.utils.set_random_seed(0)
    first, *hidden, last = sizes
    layers = [keras.layers.Dense(width, activation="tanh") for width in hidden]
    return keras.Sequential([keras.Input((first,), name="x"), *layers, keras.layers.Dense(last, name="f")])


def interleaved(
    calls: dict[str, Callable[[], Any]],
    rows: int,
    *,
    runs: int = RUNS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return seconds of a call, run by run."""
    times: dict[str, list[float]] = {engine: [] for engine in calls}
    repeats = {}
    for engine, call in calls.items():
        call()
        began = clock()
        call()
        repeats[engine] = max(1, int(LEAST_SECONDS / (clock() - began))) if rows < ROWS[2] else 1
    for _ in range(runs):
        for engine, call in calls.items():
            began = clock()
            for _ in range(repeats[engine]):
                call()
            times[engine].append((clock() - began) / repeats[engine])
    return times
