"""Peak memory of batch jobs of 1, 10 and 100 million rows through the network 1-20-20-1, each in a fresh process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks import _wire
from benchmarks._report import Report

ROOT = Path(__file__).parents[1]
MILLION = 10**6
# `GRADWIRE_BENCH_MILLIONS="1 10" python -m benchmarks batch_memory` leaves the largest out, which takes 4 GB of disk.
MILLIONS = [int(word) for word in os.environ.get("GRADWIRE_BENCH_MILLIONS", "1 10 100").split()]
TEXT_MILLIONS = 10  # text is ten times as slow to write and to read
PIECE = 1 << 20  # rows that are generated at a time

Write = Callable[[Path, Iterator[Any]], None]


def _write_parquet(path: Path, pieces: Iterator[Any]) -> None:
    with pq.ParquetWriter(path, pa.schema([("x", pa.float32())]), use_dictionary=False) as writer:
        for piece in pieces:
            writer.write_table(piece)


def _write_csv(path: Path, pieces: Iterator[Any]) -> None:
    with pa.csv.CSVWriter(path, pa.schema([("x", pa.float32())])) as writer:
        for piece in pieces:
            writer.write(piece)


# What is measured: the source's name and writer, the target, the most million rows.
JOBS: dict[str, tuple[str, Write, str, int]] = {
    "Parquet into a directory": ("in.parquet", _write_parquet, "out/", max(MILLIONS)),
    "Parquet into one file": ("in.parquet", _write_parquet, "out.parquet", max(MILLIONS)),
    "CSV into a directory of Parquet": ("in.csv", _write_csv, "out/", TEXT_MILLIONS),
}


def main(*, write: bool) -> None:
    (ROOT / "build").mkdir(exist_ok=True)
    rows: list[list[str]] = []
    data: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        folder = Path(name)
        _wire._export(str(folder / "models"))
        alone = _measured(folder / "models" / _wire.NETWORK, None, None)
        rows.append(["the package loaded, and one call", "", f"{alone['peak']:.2f} GB", ""])
        for what, (source, generate, target, most) in JOBS.items():
            peaks: list[float] = []
            for millions in [each for each in MILLIONS if each <= most]:
                generate(folder / source, _pieces(millions * MILLION))
                measured = _measured(folder / "models" / _wire.NETWORK, folder / source, f"{folder}/results/{target}")
                shutil.rmtree(folder / "results")
                (folder / source).unlink()
                peaks.append(measured["peak"])
                ratio = f"{peaks[-1] / peaks[min(1, len(peaks) - 1)]:.2f}" if len(peaks) > 1 else ""
                rows.append([what, f"{millions} million", f"{peaks[-1]:.2f} GB", ratio])
                data.append({"what": what, "millions": millions, **measured})
                print(rows[-1], file=sys.stderr)
    Report(
        name="batch_memory",
        title="Peak memory of batch jobs, the network 1-20-20-1 in float32",
        method=(
            "The most resident memory of a fresh process (VmHWM) that applies the package in process to rows generated for "
            f"it, one column of float32, {PIECE:,} rows a row group. Once each."
        ),
        columns=["what", "rows", "peak memory", "/ that of 10 million"],
        rows=rows,
        data=data,
    ).show(write=write)


def _pieces(rows: int) -> Iterator[Any]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, PIECE):
        yield pa.table({"x": rng.uniform(0.1, 1.9, min(PIECE, rows - start)).astype(np.float32)})


def _measured(package: Path, source: Path | None, target: str | None) -> dict[str, float]:
    """Peak memory in GB, and seconds, of a job in a process of its own; of one call, if there is no source."""
    words = [
        sys.executable,
        "-m",
        f"benchmarks.{Path(__file__).stem}",
        str(package),
        *map(str, filter(None, (source, target))),
    ]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def _child(package: str, *places: str) -> None:
    import gradwire
    from gradwire.batch import run

    with gradwire.load(package) as model:
        model.value_and_grad(np.ones(3, np.float32))
        began = time.perf_counter()
        if places:
            run(places[0], places[1], model=model)
        seconds = time.perf_counter() - began
    # Not getrusage: what it says is at least what the process that started this one had.
    (peak,) = [
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    print(json.dumps({"peak": int(peak) * 1024 / 1e9, "seconds": seconds}))


if __name__ == "__main__":
    _child(*sys.argv[1:])
