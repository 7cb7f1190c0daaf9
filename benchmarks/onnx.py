"""What value and derivative cost in onnxruntime, from the file that `gradwire convert` writes, beside a Session."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

import gradwire
from benchmarks._report import Measured, Report
from gradwire_export import convert, export

ROWS = (1, 4_096, 65_536)
RUNS = 15
WARM_UPS = 3
LEAST = 0.02  # s for one measurement: a single call is shorter than the clock's own noise
SIGNATURES = ("value", "serving_default", "hessian")
NETWORKS = ((1, 20), (10, 128))  # inputs, and the width of two hidden layers

Call = Callable[[], object]


def main(*, write: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for inputs, width in NETWORKS:
            rows += _network(Path(scratch), inputs, width)
    Report(
        name="onnx",
        title="A package as an ONNX file, beside a Session",
        method=(
            f"In this process, through gradwire.load, float32; onnxruntime {version('onnxruntime')}. Time of a call, "
            f"median (range) of {RUNS} interleaved runs; the ratio is run by run, below 1 where onnxruntime is faster."
        ),
        columns=["network", "signature", "rows", "Session", "ONNX", "ONNX / Session", "million rows a second in ONNX"],
        rows=rows,
    ).show(write=write)


def _network(scratch: Path, inputs: int, width: int) -> list[list[str | Measured]]:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(width, activation="sigmoid") for _ in range(2)]
    network = keras.Sequential([keras.Input((inputs,), name="x"), *layers, keras.layers.Dense(1)])
    name = f"{inputs}-{width}-{width}-1"
    package = export(network, to=scratch / name, domain={"x": (-1.0, 1.0)}, signatures=["hessian"]).path
    file = convert(package, to=scratch / f"{name}.onnx").path
    table = []
    with gradwire.load(package) as session, gradwire.load(file) as onnx:
        for signature in SIGNATURES:
            for rows in ROWS:
                if signature == "hessian" and rows > ROWS[1]:  # a gigabyte of the wide network's
                    continue
                x = np.random.default_rng(0).uniform(-1, 1, (rows, inputs)).astype(np.float32)
                calls = [_call(model, signature, x) for model in (session, onnx)]
                ours, theirs = _interleaved(calls)
                ratio = Measured(tuple(b / a for a, b in zip(ours, theirs, strict=True)))
                most = Measured((rows / Measured(tuple(theirs)).median / 1e6,))
                times = [Measured(tuple(1e3 * second for second in run), "ms") for run in (ours, theirs)]
                table.append([name, signature, f"{rows:,}", *times, ratio, most])
    return table


def _call(model: gradwire.Model, signature: str, x: np.ndarray) -> Call:
    return lambda: model.predict(signature, x=x)


def _interleaved(calls: list[Call]) -> list[list[float]]:
    """Seconds a call, by run; each run measures every call once."""
    repeats = []
    for call in calls:
        for _ in range(WARM_UPS):
            call()
        start = time.perf_counter()
        call()
        repeats.append(max(1, round(LEAST / (time.perf_counter() - start))))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, count, into in zip(calls, repeats, times, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                call()
            into.append((time.perf_counter() - start) / count)
    return times
