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
RUNS = 9
WARM_UPS = 3
TICK = 1e-6  # s of the processor: what its clock resolves
LEAST = 0.01  # s for one measurement: a single call is shorter than the clock's own noise
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
            f"median (range) of {RUNS} interleaved runs; ratios are run by run, below 1 where onnxruntime needs less: of "
            "the clock, and of seconds of the processor over all threads, which other work on the machine disturbs less."
        ),
        columns=[
            "network",
            "signature",
            "rows",
            "Session",
            "ONNX",
            "ONNX / Session",
            "processor seconds",
            "million rows a second in ONNX, most",
        ],
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
                clock, processor = _interleaved(calls)
                ratios = [Measured(tuple(b / a for a, b in zip(*pair, strict=True))) for pair in (clock, processor)]
                most = Measured((rows / min(clock[1]) / 1e6,))
                times = [Measured(tuple(1e3 * second for second in run), "ms") for run in clock]
                table.append([name, signature, f"{rows:,}", *times, *ratios, most])
    return table


def _call(model: gradwire.Model, signature: str, x: np.ndarray) -> Call:
    return lambda: model.predict(signature, x=x)


def _interleaved(calls: list[Call]) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds a call by the clock and of the processor, by run; each run measures every call once."""
    repeats = []
    for call in calls:
        for _ in range(WARM_UPS):
            call()
        start = time.perf_counter()
        call()
        repeats.append(max(1, round(LEAST / (time.perf_counter() - start))))
    clock: list[list[float]] = [[] for _ in calls]
    processor: list[list[float]] = [[] for _ in calls]
    for _ in range(RUNS):
        for place, (call, count) in enumerate(zip(calls, repeats, strict=True)):
            start = time.perf_counter(), time.process_time()
            for _ in range(count):
                call()
            clock[place].append((time.perf_counter() - start[0]) / count)
            processor[place].append(max(time.process_time() - start[1], TICK) / count)
    return clock, processor
