"""The reference training against Keras's ``model.fit``, and what the four fits of log x reach as packages."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

import gradwire
from benchmarks._report import Measured, Report
from gradwire_export import export
from gradwire_training import Result, Value, fit, problems

EPOCHS = 10_000  # the reference training's
TIMED_EPOCHS = 300  # of model.fit; the rest is extrapolated
RUNS = 3
SEEDS = range(5)
LOG = problems.get("log")
POINTS = 1_000


@dataclass(frozen=True)
class Case:
    """A command, what it is to reach, and what it stands for in calls of the package."""

    command: str
    target: tuple[float, float]  # max abs(f - log x), max abs(df/dx - 1/x)
    loss: str
    samples: Mapping[str, int | str] = field(default_factory=dict)
    dtype: str = "float32"


CASES = (
    Case("train log --loss sobolev", (2e-5, 1.2e-3), "sobolev"),
    Case("train log --loss value", (1e-3, 0.15), "value"),
    Case(
        "train log --samples 60 --spacing log --dtype float64",
        (1e-6, 5e-5),
        "sobolev",
        {"count": 60, "spacing": "log"},
        "float64",
    ),
    Case(
        "train log --loss derivative --samples 200 --dtype float64",
        (1e-6, 1e-4),
        "derivative",
        {"count": 200},
        "float64",
    ),
)


def main(*, write: bool) -> None:
    ours, theirs, _ = zip(*(_race() for _ in range(RUNS)), strict=True)
    ratio = Measured(tuple(slow / quick for slow, quick in zip(theirs, ours, strict=True)), "times")
    Report(
        name="training_speed",
        title=f"The reference training: SGD 0.1, {EPOCHS:,} full-batch steps on 19 points",
        method=(
            f"End to end from the call, compilation included, imports excluded; {RUNS} interleaved runs, "
            f"median (range). model.fit: the first epoch and {TIMED_EPOCHS} more are timed, the others extrapolated."
        ),
        columns=["way", "time"],
        rows=[
            ["keras model.fit", Measured(theirs, "s")],
            ['gradwire_training.fit(loss=Value(), optimizer="sgd")', Measured(ours, "s")],
            ["ratio", ratio],
        ],
    ).show(write=write)
    _accuracy().show(write=write)


def _race() -> tuple[float, float, float]:
    """Return the seconds of our 10,000 steps, of model.fit's (extrapolated), and of its 300 epochs."""
    began = time.perf_counter()
    fit(LOG.network(seed=0), LOG.samples(), loss=Value(), optimizer="sgd", steps=EPOCHS)
    ours = time.perf_counter() - began
    return ours, *_model_fit()


def _model_fit() -> tuple[float, float]:
    """Return the seconds of 10,000 epochs of the reference training (extrapolated) and of 300, compilation included."""
    samples = LOG.samples()
    x, y = samples.x["x"].astype("float32"), samples.y["f"].astype("float32")
    hidden = [keras.layers.Dense(20, activation="sigmoid") for _ in range(2)]
    model = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
    began = time.perf_counter()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", metrics=["mae"])
    model.fit(x, y, epochs=1, verbose=0)
    compiled = time.perf_counter()
    model.fit(x, y, epochs=TIMED_EPOCHS, verbose=0)
    ended = time.perf_counter()
    an_epoch = (ended - compiled) / TIMED_EPOCHS
    return compiled - began + (EPOCHS - 1) * an_epoch, ended - began - an_epoch


def _accuracy() -> Report:
    """Fit, exports, loads and evaluates each case from each seed, with 300 epochs of model.fit beside each seed."""
    _fit(CASES[0], 0, steps=1)  # what TensorFlow does once in a process is not a fit's
    epochs: list[float] = []
    errors: dict[str, list[tuple[float, float, float]]] = {case.command: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            epochs.append(_model_fit()[1])
            for index, case in enumerate(CASES):
                errors[case.command].append(_case(case, seed, Path(folder) / f"{seed}-{index}"))
    beside = Measured(tuple(epochs), "s")
    return Report(
        name="training_accuracy",
        title="log x, 1-20-20-1: the commands' fits, as packages",
        method=(
            f"Each is exported, loaded by gradwire.load, and measured on {POINTS:,} points of [0.1, 1.9]. Seeds "
            f"{SEEDS.start} to {SEEDS[-1]}, median (range). Time: of the fit, from the call, compilation included, imports "
            f"excluded; beside it {TIMED_EPOCHS} epochs of the reference training's model.fit in the same run. Met: medians "
            "within the target, and no slower than those epochs."
        ),
        columns=[
            "gradwire",
            "fit",
            f"{TIMED_EPOCHS} epochs",
            "max abs(f - log x)",
            "max abs(df/dx - 1/x)",
            "target",
            "met",
        ],
        rows=[_row(case, errors[case.command], beside) for case in CASES],
    )


def _case(case: Case, seed: int, folder: Path) -> tuple[float, float, float]:
    """Return the seconds of a fit, and the two errors of its package."""
    began = time.perf_counter()
    result = _fit(case, seed)
    seconds = time.perf_counter() - began
    saved = result.save(folder / "fit")
    package = export(saved, to=folder / "log", signatures=()).path  # jvp and the others have no part in this
    x = np.linspace(0.1, 1.9, POINTS)
    with gradwire.load(package) as model:
        f, df_dx = model.value_and_grad(x)
    return seconds, float(np.abs(f - np.log(x)).max()), float(np.abs(df_dx - 1 / x).max())


def _fit(case: Case, seed: int, **limits: int) -> Result:
    samples = LOG.samples(seed=seed, **case.samples)
    network = LOG.network(seed=seed, samples=samples)
    return fit(network, samples, loss=LOG.loss(case.loss), seed=seed, dtype=case.dtype, **limits)


def _row(case: Case, errors: list[tuple[float, float, float]], beside: Measured) -> list[str | Measured]:
    seconds, value, derivative = (Measured(column) for column in zip(*errors, strict=True))
    is_met = value.median <= case.target[0] and derivative.median <= case.target[1] and seconds.median <= beside.median
    target = " / ".join(f"{limit:.2g}" for limit in case.target)
    times = Measured(seconds.values, "s")
    return [case.command, times, beside, value, derivative, target, "yes" if is_met else "NO"]
