"""Black-Scholes in five inputs from few exact samples with Greeks: ours, beside PyChebyshev's tensor train."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from benchmarks._report import Measured, Report
from benchmarks._rivals import CHEBYSHEV, Driver
from benchmarks.rivals._black_scholes import BOUNDS, YIELD, greeks, price
from gradwire_training import Result, Samples, fit, mlp, refine
from gradwire_training._fit.evaluation import evaluate

Array = NDArray[np.float64]
INPUTS = ("spot", "strike", "years", "volatility", "rate")
SAMPLES = 500  # 3,000 labels, the most that a second stage takes
SEEDS = range(3)  # of samples and initial weights
LM_STEPS = 600  # as long as the default and its second stage
SMALLEST = 0.5  # of a price whose relative error counts, as in PyChebyshev's benchmark
SCENARIOS = np.array(
    [
        [100.0, 100.0, 1.0, 0.25, 0.05],
        [110.0, 100.0, 1.0, 0.25, 0.05],
        [90.0, 100.0, 1.0, 0.25, 0.05],
        [100.0, 100.0, 0.5, 0.25, 0.05],
        [100.0, 100.0, 0.25, 0.25, 0.05],
        [100.0, 100.0, 1.0, 0.15, 0.05],
        [100.0, 100.0, 1.0, 0.35, 0.05],
        [100.0, 100.0, 1.0, 0.25, 0.01],
        [85.0, 105.0, 0.5, 0.20, 0.03],
        [115.0, 95.0, 0.75, 0.30, 0.07],
    ]
)


class Errors(NamedTuple):
    """In percent, and the seconds of the fit."""

    price: float  # the largest at the rival's 50 points, relative
    delta: float  # the mean at the rival's ten scenarios, relative
    price_everywhere: float  # the largest at 1,000 points, relative
    greeks_everywhere: float  # their mean error over their mean size at 1,000 points, the largest of the five
    seconds: float


def main(*, write: bool) -> None:
    ways: Mapping[str, Callable[[int], Result]] = {
        "gradwire, default": _fit,
        "the same, --stages 2": lambda seed: refine(_fit(seed)),
        "gradwire, --optimizer lm": lambda seed: _fit(seed, optimizer="lm", steps=LM_STEPS),
    }
    rows: list[list[str | Measured]] = [_theirs()]
    for way, run in ways.items():
        measured = [Measured(column) for column in zip(*(_ours(run, seed) for seed in SEEDS), strict=True)]
        rows.append([way, f"{SAMPLES} prices with their Greeks", *measured[:-1], Measured(measured[-1].values, "s")])
    Report(
        name="chebyshev",
        title="Black-Scholes in spot, strike, time, volatility and rate: a Chebyshev tensor train, and ours",
        method=(
            f"Errors in percent against the closed form, with a dividend yield of {YIELD:.0%}, in the box and at the points of "
            f"PyChebyshev's own benchmark: the largest of prices above {SMALLEST} at its 50 points, and the mean one of delta "
            "at its ten scenarios (published: 0.014 and 0.029, from 7,400 prices). At 1,000 other points the largest of prices, "
            "and the mean error of each of the five Greeks over its mean size, of which the largest. Ours in float64, "
            f"20, 20 tanh, seeds {SEEDS.start} to {SEEDS[-1]}, median (range); lm with {LM_STEPS} steps. Its derivatives are "
            "differences."
        ),
        columns=[
            "way",
            "evaluations",
            "price, 50 points",
            "delta, 10 scenarios",
            "price, 1,000",
            "Greeks, 1,000",
            "time",
        ],
        rows=rows,
    ).show(write=write)


def _ours(run: Callable[[int], Result], seed: int) -> Errors:
    began = time.perf_counter()
    result = run(seed)
    seconds = time.perf_counter() - began
    at = _tested()
    x = {name: at[:, [index]] for index, name in enumerate(INPUTS)}
    values, slopes = evaluate(result.model, result.binding, x, {"price": INPUTS})
    return _errors(values["price"].ravel(), np.concatenate([slopes["price"][name] for name in INPUTS], axis=1), seconds)


def _fit(seed: int, optimizer: str = "auto", steps: int | None = None) -> Result:
    lower, upper = np.transpose(BOUNDS)
    x = lower + (upper - lower) * qmc.Sobol(len(INPUTS), seed=seed).random_base2(9)[:SAMPLES]
    inputs, slopes = ({name: column[:, [i]] for i, name in enumerate(INPUTS)} for column in (x, greeks(x)))
    samples = Samples(inputs, {"price": price(x)[:, None]}, {"price": slopes})
    model = mlp(
        inputs=dict.fromkeys(INPUTS, 1),
        outputs={"price": 1},
        widths=(20, 20),
        activation="tanh",
        seed=seed,
        scale=samples,
    )
    return fit(model, samples, optimizer=optimizer, steps=steps, seed=seed, dtype="float64")


def _theirs() -> list[str | Measured]:
    if not CHEBYSHEV.is_installed:
        return [CHEBYSHEV.label, "not installed: make bench-rivals", *[""] * len(Errors._fields)]
    driver = Driver(CHEBYSHEV)
    answer = driver.ask(at=_tested().tolist())
    driver.close()
    if answer is None:
        return [CHEBYSHEV.label, driver.failure, *[""] * len(Errors._fields)]
    errors = _errors(np.array(answer["price"]), np.array(answer["greeks"]), answer["seconds"])
    *cells, seconds = (Measured((error,)) for error in errors)
    name = f"{CHEBYSHEV.label} {driver.versions['pychebyshev']}"
    return [name, f"{answer['evaluations']:,} prices", *cells, Measured(seconds.values, "s")]


def _tested() -> Array:
    """Return the points that errors are taken at: the rival's 50, its ten scenarios, and 1,000 others."""
    parts: list[Array] = []
    for seed, count in ((42, 50), (1, 1_000)):
        generator = np.random.default_rng(seed)
        parts.append(np.stack([generator.uniform(*bounds, count) for bounds in BOUNDS], axis=1))
    return np.concatenate([parts[0], SCENARIOS, parts[1]])


def _errors(prices: Array, slopes: Array, seconds: float) -> Errors:
    """Return the errors of predictions at the points of ``_tested``."""
    at = _tested()
    true, true_slopes = price(at), greeks(at)
    relative = np.where(true > SMALLEST, np.abs(prices - true) / true, 0.0)
    published, scenarios, others = np.split(np.arange(len(at)), [50, 50 + len(SCENARIOS)])
    delta = np.mean(np.abs(slopes - true_slopes)[scenarios, 0] / true_slopes[scenarios, 0])
    sizes = np.abs(true_slopes[others]).mean(axis=0)
    everywhere = (np.abs(slopes - true_slopes)[others].mean(axis=0) / sizes).max()
    percents = (relative[published].max(), delta, relative[others].max(), everywhere)
    return Errors(*(100 * float(error) for error in percents), seconds)
