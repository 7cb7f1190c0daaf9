"""Error bars: how many true values and derivatives lie inside of nominal 95 %, and what they cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import gradwire
from benchmarks._report import Measured, Report
from gradwire._package import BAND, derivative_name, std_name
from gradwire_export import export
from gradwire_training import Loss, Result, Sobolev, Value, fit, hold_out, problems, with_noise
from gradwire_training._fit.evaluation import evaluate
from gradwire_training._fit.uncertainty import uncertainty_of
from gradwire_training._uncertainty import NoUncertainty

Array = NDArray[np.float64]

SEEDS = range(2)
POINTS = 1_000
OUTWARD = 0.3  # of the box's width: how far beside it bars are compared with those at the samples
COST_ROWS = (1, 64, 4_096, 65_536)
ROUNDS = 9


class Case(NamedTuple):
    """A problem, the noise of its labels, how many rows, and what is fitted."""

    problem: str
    noise: float
    count: int
    loss: Loss

    @property
    def text(self) -> str:
        labels = "values" if isinstance(self.loss, Value) else "values and slopes"
        noise = "simulated labels" if not self.noise else f"{self.noise:.1%} noise"
        return f"{self.problem}, {self.count:,} rows, {noise}, {labels}"


CASES = (
    Case("log", 0.01, 60, Sobolev()),
    Case("log", 0.03, 100, Value()),
    Case("log", 0.1, 100, Value()),
    Case("black-scholes", 0.003, 256, Sobolev()),
    Case("black-scholes", 0.01, 500, Value()),
    Case("styblinski-tang", 0.01, 200, Sobolev()),
    Case("styblinski-tang", 0.03, 300, Value()),
    Case("rosenbrock", 0.01, 200, Sobolev()),
    Case("rosenbrock", 0.01, 300, Value()),
    Case("basket", 0.0, 1_024, Sobolev()),
)


def main(*, write: bool) -> None:
    rows: list[list[str | Measured]] = []
    for case in CASES:
        f, df, wider = zip(*(_coverage(case, seed) for seed in SEEDS), strict=True)
        rows.append([case.text, *(Measured(each) for each in (f, df, wider))])
    rows.append(["mean of all", *(Measured((_mean(rows, column),)) for column in (1, 2)), ""])
    Report(
        name="coverage",
        title="Error bars: coverage of nominal 95 %",
        method=(
            f"Fraction of the truth inside of f ± {BAND:.2f} f_std and df_dx ± {BAND:.2f} df_dx_std on {POINTS:,} points of the "
            f"domain; a fifth of the rows held out, everything by default, seeds {SEEDS.start} to {SEEDS[-1]}, median "
            "(range). Wider: median bar of f beside the box over that at the samples. Cost of `uncertainty` over that of "
            f"`serving_default`, in process, by rows: {_costs()}."
        ),
        columns=["problem", "f inside", "df/dx inside", "wider outside"],
        rows=rows,
    ).show(write=write)


def _mean(rows: list[list[str | Measured]], column: int) -> float:
    return float(np.mean([value for row in rows if isinstance(cell := row[column], Measured) for value in cell.values]))


def _fitted(case: Case, seed: int) -> Result:
    problem = problems.get(case.problem)
    samples = with_noise(problem.samples(case.count, spacing="random", seed=seed), case.noise, seed=seed)
    fitted, held_out = hold_out(samples, seed=seed)
    network = problem.network(seed=seed, samples=fitted)
    return fit(network, fitted, loss=case.loss, validation=held_out, seed=seed)


def _coverage(case: Case, seed: int) -> tuple[float, float, float]:
    result, truth = _fitted(case, seed), problems.get(case.problem).truth
    bars = uncertainty_of(result.model, result.binding, result.request)
    if isinstance(bars, NoUncertainty):
        raise SystemExit(f"{case.text}: no error bars, because {bars.reason}")
    x = truth.test_points(POINTS)
    compared = _against_truth(result, truth, x)
    stds = _stds(bars.model, x)
    inside: dict[str, list[Array]] = {"value": [], "derivative": []}
    for name, (error, kind) in compared.items():
        inside[kind].append(np.abs(error) <= BAND * stds[std_name(name)].reshape(error.shape))
    samples = result.request.samples.x
    beside = {name: column + _outward(column) for name, column in samples.items()}
    (output,) = truth.outputs
    wider = np.median(_stds(bars.model, beside)[std_name(output.name)])
    wider /= np.median(_stds(bars.model, samples)[std_name(output.name)])
    f, df = (float(np.mean(np.concatenate([part.ravel() for part in parts]))) for parts in inside.values())
    return f, df, float(wider)


def _against_truth(result: Result, truth: problems.Truth, x: Mapping[str, Array]) -> dict[str, tuple[Array, str]]:
    """Return the errors of values and derivatives at points, by tensor, and their kind."""
    f, df = truth.f(dict(x)), truth.df(dict(x))
    values, derivatives = evaluate(result.model, result.binding, dict(x), df)
    errors: dict[str, tuple[Array, str]] = {
        name: (values[name].reshape(true.shape) - true, "value") for name, true in f.items()
    }
    for output, by_input in df.items():
        for wrt, true in by_input.items():
            predicted = derivatives[output][wrt].reshape(true.shape)
            errors[derivative_name(output, wrt)] = (predicted - true, "derivative")
    return errors


def _stds(model: Any, x: Mapping[str, Array]) -> dict[str, Array]:
    found = model({name: column.astype(np.float32) for name, column in x.items()})
    return {name: np.asarray(std, np.float64) for name, std in found.items()}


def _outward(column: Array) -> Array:
    """Return steps that lead every row out of the box, to the nearer side of each element."""
    lower, upper = column.min(axis=0), column.max(axis=0)
    target = np.where(column > (lower + upper) / 2, upper, lower)
    return target - column + OUTWARD * (upper - lower) * np.where(target == upper, 1, -1)


def _costs() -> str:
    with tempfile.TemporaryDirectory() as directory:
        saved = _fitted(CASES[3], 0).save(Path(directory, "fit"))
        model = gradwire.load(export(saved, to=Path(directory, "models", "price")).path)
        ratios: list[str] = []
        for count in COST_ROWS:
            x = {name: np.resize(column, (count, *column.shape[1:])) for name, column in _points().items()}
            seconds: dict[str, list[float]] = {"serving_default": [], "uncertainty": []}
            for _ in range(ROUNDS):
                for name, taken in seconds.items():  # interleaved, for the machine's speed moves
                    began = time.perf_counter()
                    model.predict(name, **x)
                    taken.append(time.perf_counter() - began)
            ratios.append(f"{count:,}: {np.median(seconds['uncertainty']) / np.median(seconds['serving_default']):.2f}")
        model.close()
    return ", ".join(ratios)


def _points() -> dict[str, NDArray[np.float32]]:
    x = problems.get(CASES[3].problem).truth.test_points(POINTS)
    return {name: column.astype(np.float32) for name, column in x.items()}
