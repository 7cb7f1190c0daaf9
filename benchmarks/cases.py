"""Tables from people's work through `gradwire train`, `export` and `verify`: exit codes and errors."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gradwire
from benchmarks._report import Report
from benchmarks.learning import CASES, barrier_price, wing_coefficients
from gradwire._package import SERVING_DEFAULT, derivative_name
from gradwire_training import Samples

Table = dict[str, Any]
STEP = 1e-5  # of central differences of the truth, of an input's spread
CONSTANT = 1e-12  # spread of a derivative that is the same everywhere but for rounding: nothing to compare errors with
COMMAND = Path(sys.executable).with_name("gradwire")


@dataclass(frozen=True)
class Case:
    """A file, what its columns are, and the function behind it; None where there is none."""

    path: str
    columns: Mapping[str, Any]  # as Samples.read has it
    truth: Callable[[Table], Table] | None
    options: tuple[str, ...] = ()  # of the command alone


def _product(first: str, second: str, output: str) -> Callable[[Table], Table]:
    return lambda x: {output: x[first] ** 2 * x[second]}


def _front(x: Table) -> Table:
    return {"f": np.tanh(60 * (x["x"] - 0.5))}


def _wave(name: str, origin: float) -> Callable[[Table], Table]:
    return lambda x: {"f": np.sin((x[name] - origin) / 200)}


def _pair(x: Table) -> Table:
    first, second = x["x"][:, 0], x["x"][:, 1]
    return {"y": np.stack([first * second, first + second], axis=1)}


def _argon(x: Table) -> Table:
    first, second = np.triu_indices(6, 1)
    squares = ((x["positions"][:, first] - x["positions"][:, second]) ** 2).sum(axis=-1) / SIGMA**2
    return {"energy": 4 * EPSILON * (squares**-6 - squares**-3).sum(axis=-1)}


SIGMA, EPSILON = 3.4, 0.0104  # Å, eV
RUNS = {"inputs": ["mach", "alpha", "re"], "outputs": ["cl", "cd", "cm"], "ignore": ["run"]}
GREEKS = {"delta": ("px", "S0"), "vega": ("px", "vol")}
PRICES = {"inputs": ["S0", "vol", "T"], "outputs": ["px"], "derivatives": GREEKS, "ignore": ["desk"]}
FRAMES = {"inputs": ["positions"], "outputs": ["energy"], "derivatives": {"forces": ("-energy", "positions")}}
UNITS = {"inputs": {"length": "length (cm)", "width": "width (cm)"}, "outputs": ["drag"]}
JOINT = {"inputs": {"q": "q", "qd": "q_dot"}, "outputs": ["tau"]}
TABLES = (
    Case("wing/runs.csv", RUNS, lambda x: wing_coefficients(x["mach"], x["alpha"], x["re"])),
    Case("barrier/samples.parquet", PRICES, lambda x: {"px": barrier_price(x["S0"], x["vol"], x["T"])}),
    Case("atoms/six_atoms.npz", FRAMES, _argon, ("--network", "atoms")),
    Case("tables/front.csv", {}, _front),
    Case("tables/unix.parquet", {}, None),  # float32 cannot tell its rows apart
    Case("tables/unix.parquet", {}, _wave("t", 1.7e9), ("--dtype", "float64")),
    Case("tables/utm.parquet", {}, _wave("north", 5.4e6)),
    Case("tables/const.parquet", {"inputs": ["a", "k"]}, None),
    Case("tables/one.csv", {}, None),
    Case("tables/euro.csv", {"inputs": ["a", "b"], "decimal": ","}, _product("a", "b", "f")),
    Case("tables/semi.csv", {}, _pair),
    Case("tables/units.csv", UNITS, _product("length", "width", "drag")),
    Case("tables/robot.csv", JOINT, _product("q", "qd", "tau")),
)


def main(*, write: bool) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for case in TABLES:
            path, place = CASES / case.path, Path(name, str(len(rows)))
            began = time.perf_counter()
            codes: list[int] = []
            for words in (
                ("train", path, *_options(case), "--to", place / "fit"),
                ("export", place / "fit", "--to", place / "package"),
                ("verify", place / "package"),
            ):
                codes += [] if any(codes) else [_run(*words)]
            seconds = time.perf_counter() - began
            errors = "-" if any(codes) else _errors(case, path, place / "package")
            shown = " ".join([case.path, *case.options])
            rows.append([shown, *map(str, codes), *["-"] * (3 - len(codes)), errors, f"{seconds:.0f} s"])
            print(*rows[-1], sep=" | ", file=sys.stderr)
    Report(
        name="cases",
        title="Tables from people's work, by the commands alone",
        method=(
            "Exit codes of `gradwire train`, `export` and `verify`, no setting but the names of columns. Errors of the "
            "package at the file's points: root mean square against the function behind the file, as a fraction of its "
            "spread, of the values / of all derivatives (the truth's are central differences). tests/cases/README.md has "
            "the functions."
        ),
        columns=["file", "train", "export", "verify", "errors", "time"],
        rows=rows,
    ).show(write=write)


def _run(*words: str | Path) -> int:
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode


def _options(case: Case) -> list[str]:
    """Return the command's words for the columns of a file."""
    words = list(case.options)
    for name, value in case.columns.items():
        if name == "derivatives":
            text = ",".join(f"{column}={output}:{wrt}" for column, (output, wrt) in value.items())
        elif isinstance(value, dict):
            text = ",".join(f"{own}={column}" for own, column in value.items())
        else:
            text = ",".join(value)
        words += [f"--{name}", text]
    return words


def _errors(case: Case, path: Path, package: Path) -> str:
    """Return the errors of values and of derivatives at the file's points."""
    if case.truth is None:
        return "-"
    points = Samples.read(path, **case.columns).x
    with gradwire.load(package) as model:
        dtypes = {tensor.name: tensor.dtype for tensor in model.card.inputs}
        predicted = model.run(SERVING_DEFAULT, {name: points[name].astype(dtype) for name, dtype in dtypes.items()})
    truth = case.truth(points)
    errors = [_error(predicted[name], column) for name, column in truth.items()], []
    for wrt, column in points.items():
        flat, step = column.reshape(len(column), -1), STEP * column.std()
        derivatives = {
            name: np.empty((*value.shape[:1], value[0].size, flat.shape[1])) for name, value in truth.items()
        }
        for element in range(flat.shape[1]):
            moved = np.zeros(flat.shape[1])
            moved[element] = step
            ends = [case.truth({**points, wrt: (flat + sign * moved).reshape(column.shape)}) for sign in (1, -1)]
            for name, value in derivatives.items():
                value[:, :, element] = (ends[0][name] - ends[1][name]).reshape(len(column), -1) / (2 * step)
        errors[1].extend(
            _error(predicted[derivative_name(name, wrt)], value)
            for name, value in derivatives.items()
            if value.std() > CONSTANT
        )
    return " / ".join(f"{np.sqrt(np.mean(np.square(part))):.2g}" for part in errors)


def _error(predicted: Any, truth: Any) -> float:
    """Return the root mean square error as a fraction of the spread."""
    return float(np.sqrt(np.mean((predicted.reshape(truth.shape) - truth) ** 2)) / truth.std())
