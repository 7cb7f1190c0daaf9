"""Implied volatility: the signature that solves, SciPy's brentq in a loop, and Newton's method in NumPy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.optimize import brentq
from scipy.special import ndtr

import gradwire
from benchmarks._report import Measured, Report
from gradwire_export import export
from gradwire_serving import Servable
from gradwire_training.problems import BLACK_SCHOLES

ROWS = 65_536
LOOPED = 500  # rows of the loop, which takes a tenth of a millisecond for each
RUNS = 7
WARM_UPS = 1
STRIKE = 100.0
SIGNATURE = "solve_volatility_from_price"
STEPS = 100  # of Newton's method in NumPy
TOLERANCE = 1e-10  # of the residual, in the price
DOMAIN: dict[str, Any] = dict(BLACK_SCHOLES.truth.domain)
OUTSIDE = 100  # every so many rows a target that no volatility has

Arrays = dict[str, Any]


def call_price(spot: Any, volatility: Any, maturity: Any, rate: Any) -> Arrays:
    """The built-in problem `black-scholes`, for TensorFlow."""
    deviation = volatility * tf.sqrt(maturity)
    upper = (tf.math.log(spot / STRIKE) + rate * maturity) / deviation + deviation / 2
    lower, root = upper - deviation, np.sqrt(2.0)
    discounted = STRIKE * tf.exp(-rate * maturity)
    return {"price": 0.5 * (spot * tf.math.erfc(-upper / root) - discounted * tf.math.erfc(-lower / root))}


@dataclass(frozen=True)
class Trial:
    """Some prices, and what a way made of them."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]  # of all threads: what other programs on the machine do not change much
    rows: int
    x: Any
    converged: Any


def main(*, write: bool) -> None:
    """Measure all ways on the same prices, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        float64, float32 = (_export(Path(folder, dtype.name), dtype) for dtype in (tf.float64, tf.float32))
        _report(float64, float32).show(write=write)


def _export(to: Path, dtype: tf.DType) -> Path:
    inputs = {name: tf.TensorSpec((None, 1), dtype) for name in DOMAIN}
    return export(call_price, to=to, inputs=inputs, domain=DOMAIN, solve=[("volatility", "price")], signatures=[]).path


def _report(float64: Path, float32: Path) -> Report:
    rng = np.random.default_rng(0)
    x = {name: rng.uniform(bounds[0], bounds[1], ROWS) for name, bounds in DOMAIN.items()}
    price = _price(x)
    known = {name: column for name, column in x.items() if name != "volatility"}
    some = price.copy()
    some[::OUTSIDE] = 2 * x["spot"][::OUTSIDE]  # a call is worth less than its stock
    model, narrow = gradwire.load(float64), gradwire.load(float32)
    servables = {dtype: Servable.load(path) for dtype, path in (("float64", float64), ("float32", float32))}
    ways: dict[str, Callable[[], tuple[Any, Any]]] = {
        "the signature, through a Session": lambda: _through_session(servables["float64"], known, price, "float64"),
        "the same, a hundredth of targets out of range": lambda: _through_session(
            servables["float64"], known, some, "float64"
        ),
        "the same, float32": lambda: _through_session(servables["float32"], known, price, "float32"),
        "`Model.solve`, in process": lambda: _by_model(model, known, price),
        "Newton in NumPy over `value_and_grad`": lambda: _newton(model, known, price),
        f"`scipy.optimize.brentq` in a loop, {LOOPED} rows": lambda: _brentq(known, price),
    }
    trials = _interleaved(ways)
    servables["float64"].close()
    servables["float32"].close()
    narrow.close()
    first = next(iter(trials.values()))
    rows = [
        [
            way,
            _rate(trial, trial.seconds),
            _rate(trial, trial.cpu_seconds),
            _ratio(first, trial),
            _residual(known, some if "out of range" in way else price, trial),
            f"{100 * (1 - np.mean(trial.converged)):.3g} %",
        ]
        for way, trial in trials.items()
    ]
    worst, median = _against_differences(model, known, price)
    model.close()
    return Report(
        name="solve",
        title="Implied volatility of the Black-Scholes package, rows a second",
        method=(
            f"{ROWS:,} prices of the domain of `black-scholes`, volatilities drawn from {DOMAIN['volatility']}, two "
            f"shared cores; medians (range) of {RUNS} interleaved runs; a CPU second is one of one core, where the machine "
            "is busy with other programs. Residuals are those of the closed form in NumPy at the "
            "volatilities that are returned. Newton in NumPy starts in the middle of the domain, is clipped to it and "
            f"flags residuals above {TOLERANCE:g} after {STEPS} steps; brentq has xtol 1e-14, and no derivative. "
            f"dvolatility/dprice against central differences of brentq's own solutions, extrapolated, where vega is "
            f"above 1: {median:.1e} at the median of {LOOPED} rows, {worst:.1e} at most, relative."
        ),
        columns=["way", "rate", "a CPU second", "ours / this", "worst residual", "flagged"],
        rows=rows,
    )


def _price(x: Mapping[str, Any]) -> Any:
    """The closed form in NumPy, ``(rows,)``."""
    deviation = x["volatility"] * np.sqrt(x["maturity"])
    upper = (np.log(x["spot"] / STRIKE) + x["rate"] * x["maturity"]) / deviation + deviation / 2
    return x["spot"] * ndtr(upper) - STRIKE * np.exp(-x["rate"] * x["maturity"]) * ndtr(upper - deviation)


def _through_session(servable: Servable, known: Arrays, price: Any, dtype: str) -> tuple[Any, Any]:
    inputs = {name: column.astype(dtype)[:, None] for name, column in {**known, "price": price}.items()}
    outputs = servable.run(SIGNATURE, inputs)
    return outputs["volatility"][:, 0], outputs["converged"]


def _by_model(model: gradwire.Model, known: Arrays, price: Any) -> tuple[Any, Any]:
    solution = model.solve(price=price, **known)
    return solution.x, solution.converged


def _newton(model: gradwire.Model, known: Arrays, price: Any) -> tuple[Any, Any]:
    """What a user writes who has value and gradient: all rows together, clipped to the domain."""
    lower, upper = DOMAIN["volatility"]
    x = np.full(len(price), (lower + upper) / 2)
    for _ in range(STEPS):
        f, vega = model.value_and_grad(**known, volatility=x, of="price", wrt="volatility")
        residual = f - price
        if np.abs(residual).max() <= TOLERANCE:
            break
        with np.errstate(all="ignore"):
            step = np.nan_to_num(residual / vega)
        x = np.clip(x - step, lower, upper)
    return x, np.abs(model.value(**known, volatility=x, of="price") - price) <= TOLERANCE


def _brentq(known: Arrays, price: Any) -> tuple[Any, Any]:
    x = np.array([_root({name: column[row] for name, column in known.items()}, price[row]) for row in range(LOOPED)])
    return x, np.isfinite(x)


def _root(known: Arrays, price: float) -> float:
    try:
        lower, upper = DOMAIN["volatility"]
        root: Any = brentq(lambda x: _price({**known, "volatility": x}) - price, lower, upper, xtol=1e-14)
    except ValueError:  # the ends do not bracket it
        return np.nan
    return root


def _interleaved(ways: Mapping[str, Callable[[], tuple[Any, Any]]]) -> dict[str, Trial]:
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    results: dict[str, tuple[Any, Any]] = {}
    for run in range(RUNS + WARM_UPS):
        for way, call in ways.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            x, converged = call()
            if run >= WARM_UPS:
                seconds[way].append((time.perf_counter() - began, time.process_time() - began_cpu))
            results[way] = x, converged
    trials: dict[str, Trial] = {}
    for way, (x, converged) in results.items():
        wall, cpu = zip(*seconds[way], strict=True)
        trials[way] = Trial(wall, cpu, len(x), x, converged)
    return trials


def _rate(trial: Trial, seconds: tuple[float, ...]) -> Measured:
    return Measured(tuple(trial.rows / each / 1e6 for each in seconds), "M/s")


def _ratio(first: Trial, other: Trial) -> Measured:
    """How many rows the first solves in the time of one of another's, run by run."""
    pairs = zip(first.seconds, other.seconds, strict=True)
    return Measured(tuple((first.rows / one) / (other.rows / two) for one, two in pairs))


def _residual(known: Arrays, price: Any, trial: Trial) -> str:
    """The largest, by the closed form in float64, of the rows that are said to be solved."""
    rows = {name: column[: trial.rows] for name, column in known.items()}
    away = np.abs(_price({**rows, "volatility": trial.x.astype(np.float64)}) - price[: trial.rows])
    return f"{away[trial.converged].max():.1e}"


def _against_differences(model: gradwire.Model, known: Arrays, price: Any) -> tuple[float, float]:
    """The largest and the median relative distance of dvolatility/dprice from differences of brentq's solutions."""
    some = {name: column[:LOOPED] for name, column in known.items()}
    solution = model.solve(price=price[:LOOPED], **some)
    derivative = solution.grads["price"]
    rows = np.flatnonzero(derivative < 1.0)
    distances = []
    for row in rows:
        here = {name: column[row] for name, column in some.items()}
        h = 2e-4 / derivative[row]  # the volatility moves by so much
        wide, close = (
            (_root(here, price[row] + step) - _root(here, price[row] - step)) / (2 * step) for step in (h, h / 2)
        )
        distances.append(abs(derivative[row] / (close + (close - wide) / 3) - 1))
    known_distances = np.array(distances)[np.isfinite(distances)]
    return float(known_distances.max()), float(np.median(known_distances))
