"""Ten noisy tables: the default beside lm, lbfgs, adam and rivals on the same rows, against the truth.

Finished cells are in build/learning.json: a run that was ended goes on there. Remove the file to begin again.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import ndtr

from benchmarks._report import Measured, Report
from benchmarks._rivals import ROOT, Driver, Rival
from gradwire import GradwireError
from gradwire_training import Loss, Samples, Sobolev, Value, fit, hold_out, mlp, networks, problems, with_noise
from gradwire_training._fit.evaluation import evaluate
from gradwire_training._models import IoBinding

CASES = Path(__file__).parents[1] / "tests" / "cases"  # or the directory of --data
SEEDS = range(2)  # of noise, of initial weights, and of the rows that are left out
ALONE = ("lm", "lbfgs", "adam")
RIVALS = {  # of values and, jenn alone, of slopes
    "gp": Rival("sklearn GP", "tables", "sklearn"),
    "mlp": Rival("sklearn MLP", "tables", "sklearn"),
    "kriging": Rival("smt kriging", "tables", "smt"),
    "jenn": Rival("jenn", "tables", "jenn"),
}
CELLS = ROOT / "build" / "learning.json"
ATOMS_STEPS = 1_000  # of any optimiser: one of six atoms takes 20 ms
SECONDS = 30  # of a fit of ours, at most
SMALL = 1e-5  # relative step of central differences
STEPS_OF_DIFFERENCES = 1e-4  # of an input's spread: rivals' derivatives are central differences of their values
NEAR = 1.1  # times the best: the target

Table = dict[str, Any]
Cell = dict[str, Any]  # the error, the seconds, and for the default its sentence


@dataclass(frozen=True)
class Case:
    """Rows to fit, a network, and the truth at other points."""

    samples: Samples
    network: Callable[[], keras.Model]
    loss: Loss
    x: Table
    y: Table
    dydx: dict[str, Table]
    steps: int | None = None
    network_is_chosen: bool = True  # by the default, where it is none of a kind of its own

    def error(self, model: keras.Model) -> float:
        """The root mean square, over every tensor that has labels, of its rmse as a fraction of its spread."""
        pairs = {output: list(columns) for output, columns in self.dydx.items()}
        return self.error_of(*evaluate(model, IoBinding.of(model, self.samples), self.x, pairs))

    def error_of(self, values: Table, derivatives: dict[str, Table]) -> float:
        """The same of predictions."""
        expected = [*self.y.values(), *(column for columns in self.dydx.values() for column in columns.values())]
        predicted = [
            *(values[name] for name in self.y),
            *(derivatives[output][name] for output, columns in self.dydx.items() for name in columns),
        ]
        parts = [
            np.mean((ours.reshape(truth.shape) - truth) ** 2) / np.var(truth)
            for ours, truth in zip(predicted, expected, strict=True)
        ]
        return float(np.sqrt(np.mean(parts)))


def main(*, write: bool) -> None:
    cells: dict[str, Cell] = json.loads(CELLS.read_text()) if CELLS.exists() else {}
    ways = ("auto", *ALONE, *(way for way, rival in RIVALS.items() if rival.is_installed))
    for name, make in TABLES.items():
        for seed in SEEDS:
            for way in ways:
                key = f"{name} / {seed} / {way}"
                if key not in cells:
                    cells[key] = _rival(make(seed), way, seed) if way in RIVALS else _ours(make(seed), way, seed)
                    print(f"{key}: {cells[key]['error']} in {cells[key]['seconds']:.0f} s", flush=True)
                    CELLS.parent.mkdir(exist_ok=True)
                    CELLS.write_text(json.dumps(cells, indent=1))
    rows: list[list[str | Measured]] = []
    near = 0
    for name in TABLES:
        table = {way: [cells[f"{name} / {seed} / {way}"] for seed in SEEDS] for way in ways}
        errors = {way: _measured([cell["error"] for cell in column]) for way, column in table.items()}
        others = [each.median for way, each in errors.items() if way != "auto" and isinstance(each, Measured)]
        default = errors["auto"]
        assert isinstance(default, Measured)
        ratio = default.median / min(others)
        near += ratio <= NEAR
        seconds = Measured(tuple(cell["seconds"] for cell in table["auto"]), "s")
        rows.append([name, *errors.values(), f"{ratio:.2f}", seconds])
    sentences = {name: cells[f"{name} / {SEEDS[0]} / auto"]["sentence"] for name in TABLES}
    print("\n".join(f"{name}: {sentence}" for name, sentence in sentences.items()))
    labels = [RIVALS[way].label if way in RIVALS else way for way in ways[1:]]
    Report(
        name="learning",
        title=f"Ten noisy tables: the default is within {NEAR} times the best of {', '.join(labels)} in {near} of {len(rows)}",
        method=(
            f"Errors against the truth: rmse as a fraction of spread, root mean square over values and derivatives that "
            f"have labels; seeds {SEEDS.start} to {SEEDS[-1]}, median (range); float64. The default has the network that "
            "networks.choose chooses, each optimiser by itself that of the problem or 20,20 sigmoid, with default settings "
            f"on the same rows, for {SECONDS} s at most; rivals as benchmarks/rivals/tables_driver.py says, and of them jenn alone is "
            "fitted to derivatives, too; their derivatives are differences. No figure: the rival failed, ran for more than "
            "three minutes, or takes no such rows."
        ),
        columns=["table", "default", *labels, "default / best", "time of the default"],
        rows=rows,
        data={"sentences": sentences, "cells": cells},
    ).show(write=write)


def _measured(errors: list[float | None]) -> str | Measured:
    known = tuple(error for error in errors if error is not None)
    return Measured(known) if len(known) == len(errors) else "-"


def _ours(case: Case, way: str, seed: int) -> Cell:
    began = time.perf_counter()
    try:
        if way == "auto" and case.network_is_chosen:
            network = networks.choose(case.samples, loss=case.loss, seed=seed, seconds=SECONDS, steps=case.steps)
        else:
            network = case.network()
        result = fit(
            network,
            case.samples,
            loss=case.loss,
            optimizer=way,
            steps=case.steps,
            seconds=SECONDS,
            seed=seed,
            dtype="float64",
        )
    except GradwireError as error:
        return {"error": None, "seconds": time.perf_counter() - began, "why": str(error)}
    seconds = time.perf_counter() - began
    return {"error": case.error(result.model), "seconds": seconds, "sentence": result.selection_reason}


def _rival(case: Case, way: str, seed: int) -> Cell:
    """Fit a rival to the rows, and take its derivatives by central differences."""
    samples, began = case.samples, time.perf_counter()
    if any(column.shape[2:] for column in (*samples.x.values(), *samples.y.values())):
        return {"error": None, "seconds": 0.0, "why": "inputs and outputs are to be numbers and vectors"}
    x, at = (np.concatenate(list(table.values()), axis=1) for table in (samples.x, case.x))
    y = np.concatenate(list(samples.y.values()), axis=1)
    outputs, inputs = _places(samples.y), _places(samples.x)
    rows = {"x": x, "y": y}
    if all(wrt in samples.dydx.get(output, {}) for output in outputs for wrt in inputs):
        dydx = np.empty((len(x), y.shape[1], x.shape[1]))
        for output, wrt in product(outputs, inputs):
            part = dydx[:, outputs[output], inputs[wrt]]
            part[...] = samples.dydx[output][wrt].reshape(part.shape)
        rows["dydx"] = dydx
    steps = STEPS_OF_DIFFERENCES * x.std(axis=0)
    moved = [at, *(at + sign * step for step in np.diag(steps) for sign in (1, -1))]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "rows.npz"
        np.savez(file, allow_pickle=False, **rows, at=np.concatenate(moved))
        driver = Driver(RIVALS[way])
        answer = driver.ask(way=way, rows=str(file), seed=seed)
        driver.close()
    if answer is None:
        return {"error": None, "seconds": time.perf_counter() - began, "why": driver.failure}
    values, *others = np.split(np.array(answer["predictions"]), len(moved))
    jacobian = (np.stack(others[::2], axis=2) - np.stack(others[1::2], axis=2)) / (2 * steps)
    error = case.error_of(
        {name: values[:, place] for name, place in outputs.items()},
        {output: {wrt: jacobian[:, outputs[output], inputs[wrt]] for wrt in inputs} for output in outputs},
    )
    return {"error": error, "seconds": answer["seconds"]}


def _places(table: Table) -> dict[str, slice]:
    """Return where each column's elements stand among those of all, one behind the other."""
    ends = np.cumsum([column.shape[1] for column in table.values()]).tolist()
    return {name: slice(end - column.shape[1], end) for (name, column), end in zip(table.items(), ends, strict=True)}


def _built_in(name: str, count: int, noise: float, *, values_alone: bool = False) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        problem = problems.get(name)
        samples = with_noise(problem.samples(count, seed=seed), noise, seed=seed)
        x = problem.truth.test_points(1_000)
        return Case(
            samples,
            lambda: problem.network(seed=seed, samples=samples),
            Value() if values_alone else Sobolev(),
            x,
            problem.truth.f(x),
            {} if values_alone else problem.truth.df(x),
        )

    return make


def _place(name: str) -> Path:
    place = Path(os.environ.get("GRADWIRE_BENCH_DATA", CASES))
    return (place if (place / name).exists() else CASES) / name


def _plain(samples: Samples, seed: int) -> Callable[[], keras.Model]:
    return lambda: mlp(
        inputs={name: column.shape[1:] for name, column in samples.x.items()},
        outputs={name: column.shape[1:] for name, column in samples.y.items()},
        seed=seed,
        scale=samples,
    )


def _wing(seed: int) -> Case:
    inputs = ["mach", "alpha", "re"]
    table = Samples.read(_place("wing/runs.csv"), inputs=inputs, outputs=["cl", "cd", "cm"], ignore=["run"])
    samples, others = hold_out(table, seed=seed)
    assert others is not None
    truth = wing_coefficients(*(others.x[name] for name in inputs))
    return Case(samples, _plain(samples, seed), Value(), others.x, truth, {})


def wing_coefficients(mach: Any, alpha: Any, reynolds: Any) -> Table:
    """Return lift, drag and moment of the wing behind `wing/runs.csv`."""
    root = np.sqrt(1 - 0.9 * np.minimum(mach, 0.86) ** 2)
    attached = 1 / (1 + np.exp((alpha - 11 + 4 * (mach - 0.3)) / 1.2))
    lift = (0.11 * alpha / root + 0.25) * attached + 0.75 * (1 - attached)
    drag = (
        0.0065 * (3e6 / reynolds) ** 0.15
        + 0.0075 * lift**2
        + 0.18 * (1 - attached) * np.sin(np.deg2rad(np.maximum(alpha, 0)))
        + 0.35 * np.maximum(mach - 0.72 + 0.03 * lift, 0) ** 2
    )
    moment = -0.05 - 0.012 * lift * mach**2 - 0.03 * (1 - attached)
    return {"cl": lift, "cd": drag, "cm": moment}


def _barrier(seed: int) -> Case:
    table = Samples.read(
        _place("barrier/samples.parquet"),
        inputs=["S0", "vol", "T"],
        outputs=["px"],
        derivatives={"delta": ("px", "S0"), "vega": ("px", "vol")},
        ignore=["desk"],
    )
    samples, others = hold_out(table, seed=seed)
    assert others is not None
    spot, vol, years = (others.x[name] for name in ("S0", "vol", "T"))
    up, down = 1 + SMALL, 1 - SMALL
    delta = (barrier_price(spot * up, vol, years) - barrier_price(spot * down, vol, years)) / (2 * SMALL * spot)
    vega = (barrier_price(spot, vol * up, years) - barrier_price(spot, vol * down, years)) / (2 * SMALL * vol)
    truth = {"px": barrier_price(spot, vol, years)}
    return Case(samples, _plain(samples, seed), Sobolev(), others.x, truth, {"px": {"S0": delta, "vol": vega}})


def barrier_price(spot: Any, vol: Any, years: Any, strike: float = 100, barrier: float = 80, rate: float = 0.03) -> Any:
    """A down-and-out call without dividends (Reiner and Rubinstein, 1991)."""
    deviation, discount = vol * np.sqrt(years), np.exp(-rate * years)
    power = (rate + vol**2 / 2) / vol**2

    def part(at: Any, weight: Any, discounted: Any) -> Any:
        return weight * ndtr(at) - discounted * ndtr(at - deviation)

    call = part(np.log(spot / strike) / deviation + power * deviation, spot, strike * discount)
    mirrored = np.log(barrier**2 / (spot * strike)) / deviation + power * deviation
    ratio = barrier / spot
    return call - part(mirrored, spot * ratio ** (2 * power), strike * discount * ratio ** (2 * power - 2))


def _atoms(seed: int) -> Case:
    with np.load(_place("atoms/six_atoms.npz")) as file:
        x, y, forces = file["positions"], file["energy"][:, None], file["forces"]
    table = Samples({"positions": x}, {"energy": y}, {"energy": {"positions": -forces}})
    samples, others = hold_out(table, seed=seed)
    assert others is not None
    network = lambda: networks.atoms(samples, seed=seed)  # noqa: E731
    return Case(samples, network, Sobolev(), others.x, others.y, others.dydx, ATOMS_STEPS, network_is_chosen=False)


TABLES: dict[str, Callable[[int], Case]] = {
    "wing, 240 runs, 0.3 %": _wing,
    "barrier, 1,200 simulated prices": _barrier,
    "six atoms, 320 frames, exact": _atoms,
    "log, 19 rows, 1 %": _built_in("log", 19, 0.01),
    "log, 200 rows, 10 %": _built_in("log", 200, 0.1),
    "black-scholes, 100 rows, 0.3 %": _built_in("black-scholes", 100, 0.003),
    "black-scholes, 2,000 rows, 10 %": _built_in("black-scholes", 2_000, 0.1),
    "rosenbrock, 60 values, 1 %": _built_in("rosenbrock", 60, 0.01, values_alone=True),
    "rosenbrock, 1,500 values, 10 %": _built_in("rosenbrock", 1_500, 0.1, values_alone=True),
    "styblinski-tang-3, 300 rows, 1 %": _built_in("styblinski-tang-3", 300, 0.01),
}
