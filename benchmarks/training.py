"""The post's training against Keras's ``model.fit``, and what the default fit reaches."""

from __future__ import annotations

import time

import keras

from benchmarks._report import Measured, Report
from gradwire_training import Result, Value, fit, problems

EPOCHS = 10_000  # the post's
TIMED_EPOCHS = 300  # of model.fit; the rest is extrapolated
RUNS = 3
SEEDS = range(5)
LOG = problems.get("log")


def main(*, write: bool) -> None:
    ours, theirs = _race()
    ratio = Measured(
        tuple(slow / quick for slow, quick in zip(theirs.values, ours.values, strict=True)), "times"
    )
    Report(
        name="training_speed",
        title=f"The post's training: SGD 0.1, {EPOCHS:,} full-batch steps on 19 points",
        method=(
            f"End to end from the call, compilation included, imports excluded; {RUNS} interleaved runs, "
            f"median (range). model.fit: the first epoch and {TIMED_EPOCHS} more are timed, the others extrapolated."
        ),
        columns=["way", "time"],
        rows=[
            ["keras model.fit", theirs],
            ['gradwire_training.fit(loss=Value(), optimizer="sgd")', ours],
            ["ratio", ratio],
        ],
    ).show(write=write)
    Report(
        name="training_accuracy",
        title="The default fit of log x: 19 points, 1-20-20-1, packaged in float32",
        method=f"Seeds {SEEDS.start} to {SEEDS[-1]}, median (range); errors on 1,000 points of [0.1, 1.9].",
        columns=["loss", "optimizer", "time", "max abs(f - log x)", "max abs(df/dx - 1/x)"],
        rows=[_accuracy("sobolev"), _accuracy("derivative"), _accuracy("value")],
    ).show(write=write)


def _race() -> tuple[Measured, Measured]:
    ours, theirs = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        fit(LOG.network(seed=0), LOG.samples(), loss=Value(), optimizer="sgd", steps=EPOCHS)
        ours.append(time.perf_counter() - began)
        theirs.append(_model_fit())
    return Measured(tuple(ours), "s"), Measured(tuple(theirs), "s")


def _model_fit() -> float:
    samples = LOG.samples()
    x, y = samples.x["x"].astype("float32"), samples.y["f"].astype("float32")
    model = LOG.network(seed=0)
    began = time.perf_counter()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", metrics=["mae"])
    model.fit(x, y, epochs=1, verbose=0)
    compiled = time.perf_counter()
    model.fit(x, y, epochs=TIMED_EPOCHS, verbose=0)
    an_epoch = (time.perf_counter() - compiled) / TIMED_EPOCHS
    return compiled - began + (EPOCHS - 1) * an_epoch


def _accuracy(loss: str) -> list[str | Measured]:
    results: list[Result] = []
    seconds: list[float] = []
    for seed in SEEDS:
        began = time.perf_counter()
        results.append(fit(LOG.network(seed=seed), LOG.samples(), loss=LOG.loss(loss)))
        seconds.append(time.perf_counter() - began)
    worst = {tensor: tuple(result.errors[tensor]["max"] for result in results) for tensor in ("f", "df_dx")}
    return [loss, "auto", Measured(tuple(seconds), "s"), Measured(worst["f"]), Measured(worst["df_dx"])]
