"""Is a right fit ever refused at export, and is a small fault ever written? By data set, seed and dtype.

A hundred fits and exports take an hour: each that is done is a line of ``build/refusals.jsonl``, and not done again.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet

from benchmarks._report import Report
from gradwire._errors import GradwireError
from gradwire._numerics import CENTRE, GRID
from gradwire_export import export
from gradwire_export._checks import model_check
from gradwire_training import Samples, Sobolev, Value, fit, mlp, problems

CASES = Path(__file__).parents[1] / "tests/cases"
DONE = Path(__file__).parents[1] / "build/refusals.jsonl"
SEEDS = range(5)
DTYPES = ("float32", "float64")
STEPS = 25  # of lm or lbfgs: weights as large as those of a long fit, in a second or two
FAULT = 1e-3
DERIVED = {
    "serving_default": "df",
    "jvp": "jvp",
    "vjp": "vjp",
    "hvp": "hvp",
    "hessian": "hessian",
}


def main(*, write: bool) -> None:
    """Fit, export, plant faults in what was exported, and count."""
    for seed in SEEDS:  # all data sets with one seed first
        for dtype in DTYPES:
            for name, make in DATA_SETS.items():
                _run_once(name, make, seed, dtype)
    rows = [_row(name) for name in DATA_SETS]
    Report(
        name="refusals",
        title="Fits refused at export, and faults caught",
        method=(
            f"{len(DATA_SETS)} data sets, seeds {SEEDS.start} to {SEEDS[-1]} of the initial weights, both dtypes, at most {STEPS} "
            f"steps. Faults: one component of one tensor of what the fresh process returned, times 1 + {FAULT:g}, for every "
            "component in turn that is not zero everywhere; caught / planted. noise: the largest rounding that was measured in float32, in eps of "
            "the tensor's scale."
        ),
        columns=["data set", "refused", *DERIVED.values(), "hvp noise"],
        rows=rows,
    ).show(write=write)


def _run_once(name: str, make: Callable[[], tuple[Samples, dict[str, Any]]], seed: int, dtype: str) -> None:
    """Run a cell that is not done, and write it down."""
    cell = {"data": name, "seed": seed, "dtype": dtype, "steps": STEPS, "tensorflow": version("tensorflow")}
    if any(done | cell == done for done in _done()):
        return
    count = asdict(run(*make(), seed, dtype))
    DONE.parent.mkdir(exist_ok=True)
    with DONE.open("a") as file:
        file.write(json.dumps(cell | {"count": count}) + "\n")
    print(name, seed, dtype, count["refused"], count["caught"], count["planted"], flush=True)


def _done() -> list[dict[str, Any]]:
    return [json.loads(line) for line in DONE.read_text().splitlines()] if DONE.is_file() else []


def _row(name: str) -> list[str]:
    total = Count()
    cells = [done for done in _done() if (done["data"], done["steps"]) == (name, STEPS)]
    for done in cells:
        total.add(Count(**done["count"]))
    caught = [f"{total.caught.get(name, 0)}/{total.planted.get(name, 0)}" for name in DERIVED]
    return [name, f"{len(total.refused)} of {len(cells)}", *caught, f"{total.noise:.3g}"]


@dataclass
class Count:
    """Refusals, and faults by signature."""

    refused: list[str] = field(default_factory=list)
    planted: dict[str, int] = field(default_factory=dict)
    caught: dict[str, int] = field(default_factory=dict)
    noise: float = 0.0  # of hvp, in eps of the scale

    def add(self, other: Count) -> None:
        """Add the counts of another run."""
        self.refused += other.refused
        self.noise = max(self.noise, other.noise)
        for mine, theirs in ((self.planted, other.planted), (self.caught, other.caught)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count


def run(samples: Samples, layers: dict[str, Any], seed: int, dtype: str) -> Count:
    """Fit and export once; then plant every fault."""
    rows = {name: column.shape[1:] for name, column in samples.x.items()}
    outputs = {name: column.shape[1:] for name, column in samples.y.items()}
    model = mlp(inputs=rows, outputs=outputs, seed=seed, scale=samples, **layers)
    loss = Sobolev() if samples.derivative_labels else Value()
    result = fit(model, samples, loss=loss, steps=STEPS, seed=seed, dtype=dtype)
    count, compared = Count(), []
    compare = model_check._against_model

    def spy(*arguments: Any) -> dict[str, Any]:
        compared[:] = arguments
        return compare(*arguments)

    with tempfile.TemporaryDirectory() as directory, mock.patch.object(model_check, "_against_model", spy):
        try:
            result.save(Path(directory, "fit"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exported = export(Path(directory, "fit"), to=Path(directory, "m"))
        except GradwireError as error:
            count.refused.append(f"{dtype}, seed {seed}: {error}")
            return count
    if exported.left_out:
        count.refused.append(f"{dtype}, seed {seed}: {exported.left_out}")
    if dtype == DTYPES[0]:
        count.noise = max(exported.card.checks["trained_model"]["noise_eps"].get("hvp", {"": 0.0}).values())
    for signature, grids in _faults(compared[2]):
        count.planted[signature] = count.planted.get(signature, 0) + 1
        count.caught[signature] = count.caught.get(signature, 0) + _is_caught(compare, compared, grids)
    return count


def _is_caught(compare: Callable[..., Any], compared: list[Any], grids: Any) -> bool:
    try:
        compare(compared[0], compared[1], grids)
    except GradwireError:
        return True
    return False


def _faults(grids: dict[str, dict[str, np.ndarray]]) -> Iterator[tuple[str, Any]]:
    """Yield, by signature, the outputs of the package with a fault in one component."""
    values = grids["value"]
    for signature, outputs in grids.items():
        for tensor, array in outputs.items():
            if tensor in values or (signature in ("hvp", "hessian") and tensor in grids["serving_default"]):
                continue
            centre = array[CENTRE :: len(GRID)].reshape(len(array) // len(GRID), -1)
            for component in np.flatnonzero(np.abs(centre).max(axis=0)):
                wrong = array.copy()
                wrong.reshape(len(array), -1)[:, component] *= 1 + FAULT
                yield signature, grids | {signature: outputs | {tensor: wrong}}


def _problem(name: str, count: int) -> Callable[[], tuple[Samples, dict[str, Any]]]:
    return lambda: (problems.get(name).samples(count, seed=0), {"widths": (16, 16)})


def _barrier() -> tuple[Samples, dict[str, Any]]:
    table = pyarrow.parquet.read_table(CASES / "barrier/samples.parquet").drop(["desk"])
    names = {"delta": "dpx_dS0", "vega": "dpx_dvol"}
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return Samples.read(columns, inputs=["S0", "vol", "T"], outputs=["px"]), {}


def _file(path: str, inputs: list[str], outputs: list[str], **layers: Any) -> Callable[[], Any]:
    return lambda: (Samples.read(CASES / path, inputs=inputs, outputs=outputs), layers)


def _function(f: Callable[..., np.ndarray], *names: str) -> Callable[[], Any]:
    """Values of a function at 200 points of a box."""

    def make() -> tuple[Samples, dict[str, Any]]:
        x = np.random.default_rng(0).uniform(-1, 1, (len(names), 200))
        columns = dict(zip(names, x, strict=True)) | {"f": f(*x)}
        return Samples.read(columns, inputs=list(names), outputs=["f"]), {"widths": (16, 16)}

    return make


DATA_SETS: dict[str, Callable[[], tuple[Samples, dict[str, Any]]]] = {
    "log": _problem("log", 19),
    "black-scholes": _problem("black-scholes", 200),
    "styblinski-tang": _problem("styblinski-tang", 200),
    "rosenbrock-3": _problem("rosenbrock-3", 200),
    "barrier/samples.parquet": _barrier,
    "tables/front.csv, tanh": _file("tables/front.csv", ["x"], ["f"], activation="tanh"),
    "wing/runs.csv": _file("wing/runs.csv", ["mach", "alpha", "re"], ["cl", "cd", "cm"]),
    "x y / (x² + 0.01)": _function(lambda x, y: x * y / (x * x + 0.01), "x", "y"),
    "1000 + sin 6x": _function(lambda x: 1000 + np.sin(6 * x), "x"),
    "|x| + 1e-6 y, ReLU": lambda: (
        _function(lambda x, y: np.abs(x) + 1e-6 * y, "x", "y")()[0],
        {"widths": (16, 16), "activation": "relu"},
    ),
}
