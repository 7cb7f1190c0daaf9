"""Error bars: how many true values and derivatives lie inside of nominal 95 %, and what they cost.

Fits take most of the time. Each leaves its weights in ``build/coverage``, from which a second run continues; remove
them when fits have changed. The table is of the seeds of which every problem has been fitted, so that a run that is
stopped leaves something to report: ``python -m benchmarks.coverage fit`` only fits, ``… report`` only reports.
``… layers`` does both for networks of other layers than dense ones, whose Jacobian comes from TensorFlow's tape.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

import gradwire
from benchmarks._report import Measured, Report
from gradwire._package import BAND, StagedPath, derivative_name, std_name
from gradwire_export import export
from gradwire_training import Loss, Samples, Sobolev, Value, fit, hold_out, problems, with_dtype, with_noise
from gradwire_training._fit.evaluation import evaluate
from gradwire_training._fit.request import Request
from gradwire_training._fit.uncertainty import uncertainty_of
from gradwire_training._models import IoBinding, input_scales, output_scales
from gradwire_training._uncertainty import NoUncertainty

Array = NDArray[np.float64]

SEEDS = range(20)
STEPS = (
    300  # of lbfgs, in two seconds: the default takes a minute to choose, and bars are about a fit, however it was made
)
FITS = Path(__file__).parents[1] / "build" / "coverage"
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
    layers: str = ""  # of the network; the problem's own where empty

    @property
    def text(self) -> str:
        labels = "values" if isinstance(self.loss, Value) else "values and slopes"
        noise = "simulated labels" if not self.noise else f"{self.noise:.1%} noise"
        layers = f"{self.layers}: " if self.layers else ""
        return f"{layers}{self.problem}, {self.count:,} rows, {noise}, {labels}"

    def file(self, seed: int) -> Path:
        """Where the weights of a fit are."""
        return FITS / f"{self.problem}-{self.count}-{self.noise:g}-{self.loss.name}{self.layers}-{seed}.npz"


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
LAYER_CASES = tuple(
    Case(*rows, Value(), layers)
    for layers in ("residual", "gated")
    for rows in (("log", 0.03, 100), ("styblinski-tang", 0.03, 300), ("black-scholes", 0.01, 500))
)
LAYER_SEEDS = range(6)
WIDTH = 16  # of these networks


def main(*, write: bool) -> None:
    """Fit what has not been fitted, and report."""
    fit_all()
    report(write=write)


def other_layers(*, write: bool) -> None:
    """Fit networks of other layers, and report."""
    fit_all(LAYER_CASES, LAYER_SEEDS)
    report(LAYER_CASES, name="coverage_layers", write=write)


def fit_all(cases: Sequence[Case] = CASES, seeds: Sequence[int] = SEEDS) -> None:
    """Fit every problem to every seed, all problems to one seed before the next."""
    for seed in seeds:
        for case in cases:
            began = time.perf_counter()
            if not case.file(seed).is_file():
                Fitted.of(case, seed)
                print(f"{case.text}, seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)


def report(cases: Sequence[Case] = CASES, *, name: str = "coverage", write: bool) -> None:
    """Report the coverage of the fits that there are."""
    seeds = [seed for seed in SEEDS if all(case.file(seed).is_file() for case in cases)]
    rows: list[list[str | Measured]] = []
    total: list[tuple[float, float]] = []
    for case in cases:
        f, df, wider = zip(*(_coverage(case, seed) for seed in seeds), strict=True)
        rows.append([case.text, *(f"{np.mean(part):.1%} ({min(part):.1%})" for part in (f, df)), Measured(wider)])
        total.append((float(np.mean(f)), float(np.mean(df))))
    rows.append(["mean of all", *(f"{part:.1%}" for part in np.mean(total, axis=0)), ""])
    Report(
        name=name,
        title="Error bars: coverage of nominal 95 %",
        method=(
            f"Fraction of the truth inside of f ± {BAND:.2f} f_std and df_dx ± {BAND:.2f} df_dx_std on {POINTS:,} points of "
            f"the domain; a fifth of the rows held out, {STEPS} steps of lbfgs; mean of {len(seeds)} seeds, and the lowest. "
            "Wider: median bar of f beside the box over that at the samples, median (range). Cost of `uncertainty` over "
            f"that of `serving_default`, in process, by rows: {_costs()}."
        ),
        columns=["problem", "f inside", "df/dx inside", "wider outside"],
        rows=rows,
    ).show(write=write)


class Fitted(NamedTuple):
    """A fitted model, and what it was fitted to."""

    model: keras.Model
    binding: IoBinding
    request: Request

    @classmethod
    def of(cls, case: Case, seed: int) -> Fitted:
        """Fit, or take the weights of an earlier run."""
        problem = problems.get(case.problem)
        samples = with_noise(problem.samples(case.count, spacing="random", seed=seed), case.noise, seed=seed)
        fitted, held_out = hold_out(samples, seed=seed)
        network = _network(case.layers, fitted, seed) if case.layers else problem.network(seed=seed, samples=fitted)
        file = case.file(seed)
        if not file.is_file():
            result = fit(
                network, fitted, loss=case.loss, validation=held_out, seed=seed, optimizer="lbfgs", steps=STEPS
            )
            with StagedPath(file, is_directory=False) as staged:
                np.savez(staged.path, *result.model.get_weights(), allow_pickle=False)
        model = with_dtype(network, "float32")
        with np.load(file) as weights:
            model.set_weights(list(weights.values()))
        settings: dict[str, Any] = {"loss": case.loss, "steps": None, "seed": seed, "dtype": "float32"}
        request = Request.of(fitted, "lbfgs", validation=held_out, **settings)
        return cls(model, IoBinding.of(model, fitted), request)


def _network(layers: str, samples: Samples, seed: int) -> keras.Model:
    """Return a network with two blocks of layer normalisation that are added to their inputs, or of gates."""
    keras.utils.set_random_seed(seed)
    scales = input_scales(samples) | output_scales(samples)
    inputs = {name: keras.Input(column.shape[1:], name=name) for name, column in samples.x.items()}
    scaled = [_through(scales[name].inward(name), tensor) for name, tensor in inputs.items()]
    hidden = keras.layers.Concatenate()(scaled) if len(scaled) > 1 else scaled[0]
    if layers == "residual":
        hidden = keras.layers.Dense(WIDTH, "tanh")(hidden)
    for _ in range(2):
        if layers == "residual":
            inner = keras.layers.Dense(WIDTH, "tanh")(keras.layers.LayerNormalization()(hidden))
            hidden = keras.layers.Add()([hidden, inner])
        else:
            gate = keras.layers.Dense(WIDTH, "sigmoid")(hidden)
            hidden = keras.layers.Multiply()([keras.layers.Dense(WIDTH, "tanh")(hidden), gate])
    outputs = {
        name: _through(scales[name].outward(name), keras.layers.Dense(column.shape[1])(hidden))
        for name, column in samples.y.items()
    }
    return keras.Model(inputs, outputs)


def _through(layers: Sequence[keras.Layer], tensor: Any) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def _coverage(case: Case, seed: int) -> tuple[float, float, float]:
    fitted, truth = Fitted.of(case, seed), problems.get(case.problem).truth
    bars = uncertainty_of(*fitted)
    if isinstance(bars, NoUncertainty):
        raise SystemExit(f"{case.text}: no error bars, because {bars.reason}")
    x = truth.test_points(POINTS)
    compared = _against_truth(fitted, truth, x)
    stds = _stds(bars.model, x)
    inside: dict[str, list[Array]] = {"value": [], "derivative": []}
    for name, (error, kind) in compared.items():
        inside[kind].append(np.abs(error) <= BAND * stds[std_name(name)].reshape(error.shape))
    samples = fitted.request.samples.x
    beside = {name: column + _outward(column) for name, column in samples.items()}
    (output,) = truth.outputs
    wider = np.median(_stds(bars.model, beside)[std_name(output.name)])
    wider /= np.median(_stds(bars.model, samples)[std_name(output.name)])
    f, df = (float(np.mean(np.concatenate([part.ravel() for part in parts]))) for parts in inside.values())
    return f, df, float(wider)


def _against_truth(fitted: Fitted, truth: problems.Truth, x: Mapping[str, Array]) -> dict[str, tuple[Array, str]]:
    """Return the errors of values and derivatives at points, by tensor, and their kind."""
    f, df = truth.f(dict(x)), truth.df(dict(x))
    values, derivatives = evaluate(fitted.model, fitted.binding, dict(x), df)
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
        model, _, request = Fitted.of(CASES[3], 0)
        saved = fit(model, request.samples, validation=request.validation, optimizer="lm", steps=1).save(
            Path(directory, "fit")
        )
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


if __name__ == "__main__":
    {"fit": fit_all, "report": lambda: report(write=False), "layers": lambda: other_layers(write=True)}[sys.argv[1]]()
