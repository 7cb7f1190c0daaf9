"""A Bermudan option on five rates from noisy paths (Huge and Savine's public set): ours, reduced, and polynomials."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._report import Measured, Report
from gradwire_training import Samples, fit, mlp, networks
from gradwire_training.optimizers import Adam

Array = NDArray[np.float64]
Predictor = Callable[[Array], Array]

DATA = "bermudan_5f"  # in the directory of --data
FILES = "berm_5f_{}.csv"  # as in the repository differential-machine-learning/notebooks
SEEDS = range(3)
SECONDS = 60  # a fit
DEGREE = 5
COMPONENTS = 2
NETWORK: dict[str, Any] = {"widths": (20,) * 4, "activation": "softplus"}
ADAM = Adam(batch_size=512, learning_rate=0.03)
STEPS = 1_600  # 100 epochs


def main(*, write: bool) -> None:
    if (place := os.environ.get("GRADWIRE_BENCH_DATA")) is None or not (Path(place) / DATA).is_dir():
        print(f"bermudan: give --data DIR, the directory with {DATA}")
        return
    data = [
        np.loadtxt(Path(place) / DATA / FILES.format(name), delimiter=",")
        for name in ("x_train", "y_train", "dydx_train", "x_test", "y_test")
    ]
    x, y, dydx, x_test, y_test = data
    samples = Samples({"x": x}, {"y": y}, {"y": {"x": dydx}})
    components, along = _components(x, dydx)
    ways: dict[str, Callable[[int], Predictor]] = {
        f"polynomial of degree {DEGREE}, values": lambda _: _polynomial(x, y, None),
        "the same, values and derivatives": lambda _: _polynomial(x, y, dydx),
        f"the same, on {COMPONENTS} differential components": lambda _: _on(
            components, _polynomial(x @ components, y, dydx @ along)
        ),
        "gradwire, default": lambda seed: _ours(samples, seed),
        "gradwire, --reduce auto": lambda seed: _ours(samples, seed, reduce="auto"),
        "gradwire, 4 x 20 softplus, adam": lambda seed: _ours(samples, seed, ADAM, **NETWORK),
        "the same, --reduce auto": lambda seed: _ours(samples, seed, ADAM, reduce="auto", **NETWORK),
        "the same, --reduce 5": lambda seed: _ours(samples, seed, ADAM, reduce=5, **NETWORK),
    }
    rows: list[list[str | Measured]] = []
    for name, make in ways.items():
        errors, seconds = zip(*(_measured(make, seed, x_test, y_test) for seed in SEEDS), strict=True)
        rows.append([name, Measured(errors), Measured(seconds, "s")])
    Report(
        name="bermudan",
        title="A Bermudan option on five correlated rates, from 8,192 paths with pathwise derivatives",
        method=(
            f"rmse against the values of nested simulations at {len(x_test)} points; seeds {SEEDS.start} to {SEEDS[-1]}, "
            f"median (range); fits of at most {SECONDS} s, the choice of the network by networks.choose included where it is the "
            "default. Polynomials: least squares on scaled inputs, derivatives "
            f"weighted as Huge and Savine do. adam: {STEPS:,} steps of 512 rows, 0.03 falling to 0; every direction that "
            "--reduce 5 keeps, but derivatives are fitted along components. Published by Huge and Savine: 1.17, 0.36, 0.30; a "
            "network in JAX like that of adam here: 0.28 to 0.30, on two components 0.226 to 0.229."
        ),
        columns=["way", "rmse", "time"],
        rows=rows,
    ).show(write=write)


def _measured(make: Callable[[int], Predictor], seed: int, x: Array, y: Array) -> tuple[float, float]:
    began = time.perf_counter()
    predict = make(seed)
    seconds = time.perf_counter() - began
    return float(np.sqrt(np.mean((predict(x) - y) ** 2))), seconds


def _ours(samples: Samples, seed: int, optimizer: Any = None, **network: Any) -> Predictor:
    if optimizer is None:
        model: Any = networks.choose(samples, seed=seed, seconds=SECONDS, **network)
    else:
        model = mlp(inputs={"x": 5}, outputs={"y": 1}, seed=seed, scale=samples, **network)
    steps = None if optimizer is None else STEPS
    result = fit(model, samples, optimizer=optimizer or "auto", steps=steps, seconds=SECONDS, seed=seed)
    return lambda x: np.asarray(result.model(x.astype(np.float32)), np.float64).ravel()


def _components(x: Array, dydx: Array) -> tuple[Array, Array]:
    """Return the first differential components, and the inputs' derivatives with respect to them."""
    spread = x.std(axis=0)
    gradients = dydx * spread
    directions = np.linalg.eigh(gradients.T @ gradients)[1][:, : -COMPONENTS - 1 : -1]
    return directions / spread[:, None], directions * spread[:, None]


def _on(components: Array, predict: Predictor) -> Predictor:
    return lambda x: predict(x @ components)


def _polynomial(x: Array, y: Array, dydx: Array | None) -> Predictor:
    """Fit all monomials by least squares; with derivatives, each counts 1/rms of its labels, as in arXiv 2005.02347."""
    centre, spread = x.mean(axis=0), x.std(axis=0)
    exponents = np.array(
        [
            np.bincount(chosen, minlength=x.shape[1])
            for degree in range(DEGREE + 1)
            for chosen in (np.array(each, int) for each in combinations_with_replacement(range(x.shape[1]), degree))
        ]
    )
    scaled = (x - centre) / spread
    matrix, right = [_monomials(scaled, exponents)], [y]
    if dydx is not None:
        labels = dydx * spread
        for axis, size in enumerate(np.sqrt((labels**2).mean(axis=0))):
            weight = y.std() / size  # as the values, whose errors count by their spread
            lowered = np.maximum(exponents - np.eye(x.shape[1], dtype=int)[axis], 0)
            matrix.append(weight * exponents[:, axis] * _monomials(scaled, lowered))
            right.append(weight * labels[:, axis])
    weights = np.linalg.lstsq(np.concatenate(matrix), np.concatenate(right), rcond=None)[0]
    return lambda points: _monomials((points - centre) / spread, exponents) @ weights


def _monomials(x: Array, exponents: NDArray[Any]) -> Array:
    return np.prod(x[:, None, :] ** exponents[None], axis=2)
