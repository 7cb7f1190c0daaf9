"""The row ledger of Ray Data's own checkpoints: jobs are killed at random moments, and the rows in the results counted.

It is what `make storm-ray` does to `gradwire batch --engine ray`; run it by .venv-bridges/bin/python. KILLS in the
environment says how often.
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._report import Report

KILLS = int(os.environ.get("KILLS", "20"))
FILES, ROWS = 24, 50
SECONDS = 0.15  # of a file
PATIENCE = 120.0  # for a job that is left alone
ATTEMPTS = 4  # kills of a job, at most
WAIT = 0.02
# A job in a process of its own: rows of a file are a block, and the checkpoint is by their column of numbers.
DRIVER = f"""
import sys, time
import numpy as np
import ray
from ray.data.checkpoint import CheckpointConfig

source, sink, notes, address = sys.argv[1:]
ray.init(address, log_to_driver=False, logging_level="ERROR")
context = ray.data.DataContext.get_current()
context.enable_progress_bars = False
context.use_datasource_v2 = False  # which reads all of these files in one task
context.checkpoint_config = CheckpointConfig(
    id_column="id", checkpoint_path=notes, delete_checkpoint_on_success=False
)

def slow(block):
    time.sleep({SECONDS})
    return {{**block, "f": np.log(block["x"])}}

ray.data.read_parquet(source, override_num_blocks={FILES}).map_batches(slow, batch_size=None).write_parquet(sink)
"""


def main(*, write: bool) -> None:
    if importlib.util.find_spec("ray") is None:
        print(f"{Path(__file__).stem} needs ray: run it by .venv-bridges/bin/python", file=sys.stderr)
        return
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    address = ray.get_runtime_context().gcs_address
    ledger, moments = Counter[str](), random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        points = Path(name, "points")
        points.mkdir()
        for index, x in enumerate(np.random.default_rng(0).uniform(0.5, 2.0, (FILES, ROWS))):
            table = pa.table({"id": np.arange(ROWS) + ROWS * index, "x": x})
            pq.write_table(table, points / f"{index:02d}.parquet")
        while ledger["kills"] < KILLS:
            ledger["jobs"] += 1
            _job(points, Path(name, str(ledger["jobs"])), address, moments, ledger)
            print(dict(ledger), file=sys.stderr)
    ray.shutdown()
    Report(
        name="batch_ledger",
        title="Rows after kills, Ray Data's job-level checkpoints",
        method=(
            f"Ray {ray.__version__}, `CheckpointConfig(id_column=…)`, {FILES} files of {ROWS} rows, `map_batches` and "
            "`write_parquet`, a cluster of two CPUs; the driver is killed (SIGKILL) at random moments, at most "
            f"{ATTEMPTS} times a job, and the same program run until it ends. Rows are counted by their numbers in all "
            "files of the result. `make storm-ray` is the same for gradwire, with workers killed as well."
        ),
        columns=["what", "count"],
        rows=[[name, f"{ledger[name]:,}"] for name in ROWS_OF_THE_TABLE],
        data=dict(ledger),
    ).show(write=write)


ROWS_OF_THE_TABLE = (
    "jobs", "kills", "kills with some rows written", "rows expected", "rows missing at the end", "rows twice at the end",
    "jobs with a row missing or twice", "jobs that did not end", "files of results that are not whole",
)  # fmt: skip


def _job(points: Path, folder: Path, address: str, moments: random.Random, ledger: Counter[str]) -> None:
    """Run a job, kill it a few times, let it end, and count its rows."""
    sink, notes = folder / "out", folder / "notes"
    sink.mkdir(parents=True)
    words = [sys.executable, "-c", DRIVER, *map(str, (points, sink, notes, address))]

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    span = FILES * SECONDS / 2
    for _ in range(ATTEMPTS):
        before, driver = len(list(sink.iterdir())), begin()
        until = time.monotonic() + PATIENCE
        while len(list(sink.iterdir())) == before and driver.poll() is None and time.monotonic() < until:
            time.sleep(WAIT)
        time.sleep(moments.uniform(0, span))
        driver.kill()
        ledger["kills"] += driver.wait() == -signal.SIGKILL
        ledger["kills with some rows written"] += bool(list(sink.glob("*.parquet")))
        time.sleep(1.0)  # tasks that were under way end, as they would before anybody starts the job again
        if ledger["kills"] >= KILLS:
            break
    try:
        ended = begin().wait(PATIENCE) == 0
    except subprocess.TimeoutExpired:
        ended = False
    ledger["jobs that did not end"] += not ended
    ids = Counter[int]()
    for path in sink.rglob("*.parquet"):
        try:
            ids.update(pq.read_table(path)["id"].to_pylist())
        except pa.ArrowException:
            ledger["files of results that are not whole"] += 1
    missing = sum(ids[row] == 0 for row in range(FILES * ROWS))
    twice = sum(count > 1 for count in ids.values())
    ledger["rows expected"] += FILES * ROWS
    ledger["rows missing at the end"] += missing
    ledger["rows twice at the end"] += twice
    ledger["jobs with a row missing or twice"] += bool(missing or twice)


if __name__ == "__main__":
    main(write="--write" in sys.argv)
