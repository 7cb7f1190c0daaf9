"""Files in, files out: Parquet to Parquet through the network 1-20-20-1, beside the floor and what a user writes."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import gradwire
from benchmarks import _wire
from benchmarks._report import Measured, Report
from benchmarks._rivals import DRIVERS
from benchmarks._rivals import FILE_RIVAL as BEAM
from gradwire.batch import BLOCK_ROWS, LocalEngine, run

ROWS = int(os.environ.get("GRADWIRE_BENCH_ROWS", "10_000_000"))
RUNS = int(os.environ.get("GRADWIRE_BENCH_RUNS", "3"))
FILE_ROWS = 1 << 20
MILLION = 1e6
ENGINES = ("tensorflow", "native")
ELSEWHERE = ("server", "ray", "Ray", "Beam")  # what works in other processes, whose processor time is not counted
RAY_ROWS = "needs ray: run it by .venv-bridges/bin/python"
NATIVE = "gradwire batch, native engine"
FLOOR, RATE, LOCAL = "a. read and write by pyarrow, no model", "b. the package in process, no files", "gradwire batch"

Way = Callable[[Path], "float | None"]  # an empty directory for results -> seconds, None for those of the whole call


def main(*, write: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _wire.servers(str(folder / "models")) as servers:
            source = _write_points(folder / "points")
            model, native = (gradwire.load(folder / "models" / _wire.NETWORK, engine=each) for each in ENGINES)
            ways = _ways(source, folder, model, native, servers.embedded)
            rates, costs = _interleaved(ways, folder / "out", RUNS)
            model.close()
            native.close()
    _report(rates, costs).show(write=write)


def _write_points(folder: Path) -> Path:
    """Files of a million rows, and what is left."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, start in enumerate(range(0, ROWS, FILE_ROWS)):
        x = rng.uniform(0.1, 1.9, min(FILE_ROWS, ROWS - start)).astype(np.float32)
        pq.write_table(pa.table({"x": x}), folder / f"{index:04d}.parquet", use_dictionary=False)
    return folder


def _ways(source: Path, folder: Path, model: gradwire.Model, native: gradwire.Model, server: str) -> dict[str, Way]:
    package = folder / "models" / _wire.NETWORK / "1"
    files = sorted(source.iterdir())
    x = pq.read_table(source)["x"].to_numpy()
    results = _compute(model, x)
    _signature(package)
    remote = gradwire.connect(server, _wire.NETWORK)

    def job(out: Path) -> None:
        run(source, f"{out}/", model=model)

    def one_file(out: Path) -> None:
        run(source, out / "out.parquet", model=model)

    def served(out: Path) -> None:
        run(source, f"{out}/", model=remote)

    ways: dict[str, Way] = {
        FLOOR: lambda out: _copy(files, results, out),
        RATE: lambda _: _discard(_compute(model, x)),
        LOCAL: job,
        "gradwire batch, into one file": one_file,
        "gradwire batch, embedded server": served,
        "the package in process, no files, native engine": lambda _: _discard(_compute(native, x)),
        NATIVE: lambda out: _discard(run(source, f"{out}/", model=native)),
        "c. by hand: pandas and tf.saved_model.load, a file at a time": lambda out: _by_hand(
            files, package, out, FILE_ROWS
        ),
        "c. by hand, blocks of 65,536 rows": lambda out: _by_hand(files, package, out, BLOCK_ROWS),
    }
    if BEAM.is_installed:
        ways[BEAM.label] = lambda out: _beam(source, package, out)
    if importlib.util.find_spec("ray") is not None:
        ways |= _ray_ways(source, model, package)
    return ways


def _compute(model: gradwire.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Values and derivatives, as many calls at once as a job makes."""
    with ThreadPoolExecutor(LocalEngine()._calls) as pool:
        parts = list(pool.map(model.value_and_grad, (x[i : i + BLOCK_ROWS] for i in range(0, len(x), BLOCK_ROWS))))
    f, df_dx = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {"f": f, "df_dx": df_dx}


def _discard(_: object) -> None:
    pass


def _copy(files: Sequence[Path], results: dict[str, np.ndarray], out: Path) -> None:
    start = 0
    for file in files:
        table = pq.read_table(file)
        for name, array in results.items():
            table = table.append_column(name, pa.array(array[start : start + len(table)]))
        pq.write_table(table, out / file.name, use_dictionary=False)
        start += len(table)


@cache
def _signature(package: Path) -> Any:
    import tensorflow as tf

    module = tf.saved_model.load(str(package))
    return module, module.signatures["serving_default"]  # which lives as long as the module


def _by_hand(files: Sequence[Path], package: Path, out: Path, rows: int) -> None:
    """What a user writes."""
    import tensorflow as tf

    _, signature = _signature(package)
    for file in files:
        frame = pd.read_parquet(file)
        parts = []
        for start in range(0, len(frame), rows):
            outputs = signature(x=tf.constant(frame["x"].to_numpy()[start : start + rows, None]))
            parts.append({name: outputs[name].numpy()[:, 0] for name in ("f", "df_dx")})
        for name in ("f", "df_dx"):
            frame[name] = np.concatenate([part[name] for part in parts])
        frame.to_parquet(out / file.name)


def _beam(source: Path, package: Path, out: Path) -> float:
    words = [BEAM.python, DRIVERS / f"{BEAM.driver}_driver.py", source, out, package]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["rows"] == ROWS
    return measured["seconds"]


def _ray_ways(source: Path, model: gradwire.Model, package: Path) -> dict[str, Way]:
    import ray

    from gradwire.batch import RayEngine

    engine = RayEngine()
    ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    def whole(out: Path) -> None:
        run(source, f"{out}/", model=model, engine=engine)

    def loaded(out: Path) -> float:
        whole(out)
        return _steady(out)

    class Hand:
        def __init__(self) -> None:
            import tensorflow as tf

            self._module = tf.saved_model.load(str(package))  # its functions live as long as it does
            self._signature = self._module.signatures["serving_default"]

        def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            import tensorflow as tf

            outputs = self._signature(x=tf.constant(block["x"][:, None]))
            return {"x": block["x"], **{name: outputs[name].numpy()[:, 0] for name in ("f", "df_dx")}}

    def ray_data(out: Path) -> None:
        data: Any = ray.data.read_parquet(str(source))
        # An actor on every CPU leaves none to the tasks that read and write: the job stands still.
        data.map_batches(Hand, batch_size=BLOCK_ROWS, concurrency=max(1, (os.cpu_count() or 1) - 1)).write_parquet(
            str(out)
        )

    return {
        "gradwire batch --engine ray, start of the workers included": whole,
        "gradwire batch --engine ray, without the start of the workers": loaded,
        "d. Ray Data map_batches, start of the workers included": ray_data,
    }


def _steady(out: Path) -> float:
    """Seconds for all rows at the rate that holds once as many units are done as there are workers, by their files."""
    parts = sorted((path.stat().st_mtime, pq.read_metadata(path).num_rows) for path in out.glob("part-*"))
    first = min(os.cpu_count() or 1, len(parts) - 1)
    return (parts[-1][0] - parts[first - 1][0]) * ROWS / sum(rows for _, rows in parts[first:])


def _interleaved(ways: dict[str, Way], out: Path, runs: int) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """Million rows a second, and seconds of this process's processors a million rows; the order is rotated."""
    names, rates, costs = list(ways), {name: list[float]() for name in ways}, {name: list[float]() for name in ways}
    for turn in range(runs):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            out.mkdir()
            began, used = time.perf_counter(), time.process_time()
            seconds = ways[name](out)
            seconds = seconds or time.perf_counter() - began
            costs[name].append((time.process_time() - used) / ROWS * MILLION)
            rates[name].append(ROWS / seconds / MILLION)
            print(f"{name}: {rates[name][-1]:.3g} M/s", file=sys.stderr)
            shutil.rmtree(out)
    return (
        {name: Measured(tuple(each), "M/s") for name, each in rates.items()},
        {name: Measured(tuple(each), "s") for name, each in costs.items()},
    )


def _report(rates: dict[str, Measured], costs: dict[str, Measured]) -> Report:
    def ratio(name: str, other: Callable[[int], float]) -> str:
        """The median over rounds, each beside what was measured in the same one."""
        return f"{statistics.median(rate / other(turn) for turn, rate in enumerate(rates[name].values)):.2f}"

    best = lambda turn: min(rates[FLOOR].values[turn], rates[RATE].values[turn])  # noqa: E731
    hand = lambda turn: max(each.values[turn] for name, each in rates.items() if name.startswith("c."))  # noqa: E731
    rows = [
        [
            name,
            rate,
            ratio(name, best),
            ratio(name, hand),
            ratio(name, lambda turn: rates[LOCAL].values[turn]),
            "" if any(word in name for word in ELSEWHERE) else costs[name],
        ]
        for name, rate in rates.items()
    ]
    if not any("ray" in name for name in rates):
        rows.append(["--engine ray; Ray Data", RAY_ROWS, "", "", "", ""])
    if BEAM.label not in rates:
        rows.append([BEAM.label, "needs `make bench-rivals`", "", "", "", ""])
    return Report(
        name="batch",
        title=f"{ROWS:,} rows, Parquet to Parquet, the network 1-20-20-1 in float32",
        method=(
            f"Million rows a second, median (range) of {RUNS} rounds, the order rotated; ratios are medians of those of a "
            f"round. Files of {FILE_ROWS:,} rows with one column, results f and df_dx beside it, no dictionaries. The "
            "package is loaded before, but where the row says otherwise; what gradwire writes is put on the disk (fsync) "
            "and hashed, what the others write is not. "
            "The last column is the user and system time of all threads, which other programs on the machine hardly change."
        ),
        columns=[
            "what",
            "rows a second",
            "/ min(a, b)",
            "/ the better c",
            "/ gradwire batch",
            "processor time, a million rows",
        ],
        rows=rows,
    )
