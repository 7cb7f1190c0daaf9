"""A kill storm on Ray: drivers and workers are killed at random moments, and every row is in the result once.

KILLS in the environment says how often (`make storm-ray`); the moments are those of a seed and of the machine.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from gradwire.batch import _ray, run
from gradwire.testing import FakeModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning"),  # JAX's, if it is in this process
]
KILLS = int(os.environ.get("KILLS", "4"))
FILES, ROWS = 24, 50
SECONDS = 0.15  # of a unit
# A job in a process of its own, whose workers say which processes they are.
DRIVER = f"""
import os, sys, time
import numpy as np
from gradwire.batch import RayEngine, run
from gradwire.testing import FakeModel

source, sink, address, pids = sys.argv[1:]

def slow(x):
    open(os.path.join(pids, str(os.getpid())), "w").close()
    time.sleep({SECONDS})
    return np.log(x)

run(source, sink, model=FakeModel(slow, lambda x: 1 / x, name="log").connect(), engine=RayEngine(address=address))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray of two CPUs on this machine; its address."""
    for name, value in _ray.ENVIRONMENT.items():
        os.environ[name] = value
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _workers(pids: Path) -> list[int]:
    """Those of the processes that still run units; a number may be another's by now."""
    alive = []
    for path in pids.iterdir():
        try:
            words = Path("/proc", path.name, "cmdline").read_bytes()
        except OSError:
            continue
        alive += [int(path.name)] if words.startswith(b"ray::Worker") else []
    return alive


@pytest.mark.timeout(1800)
def test_every_row_once_whoever_is_killed(cluster, tmp_path):
    """Driver or worker, before, amid and after the work; the files are those of a job in one process, left alone."""
    points, pids = tmp_path / "points", tmp_path / "pids"
    points.mkdir()
    pids.mkdir()
    for index, x in enumerate(np.random.default_rng(0).uniform(0.5, 2.0, (FILES, ROWS))):
        table = pa.table({"id": np.arange(ROWS) + ROWS * index, "x": x})
        pq.write_table(table, points / f"{index:02d}.parquet")
    run(points, tmp_path / "alone", model=FakeModel(np.log, lambda x: 1 / x, name="log").connect())
    expected = _files(tmp_path / "alone")

    def begin(target: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", DRIVER, points, target, cluster, pids]
        return subprocess.Popen(words, stderr=subprocess.DEVNULL)

    def wait_for_work(driver: subprocess.Popen[bytes], waits: bool) -> None:
        # The other kills come while Ray starts.
        while waits and driver.poll() is None and not _workers(pids):
            time.sleep(0.02)

    span = FILES * SECONDS / 2
    moments, kills, amid, jobs = random.Random(0), Counter[str](), 0, 0
    while kills.total() < KILLS:
        jobs += 1
        target = tmp_path / str(jobs)
        driver = begin(target)
        while True:
            wait_for_work(driver, moments.random() < 0.8)
            try:
                assert driver.wait(moments.uniform(0, span) if kills.total() < KILLS else None) == 0
                break
            except subprocess.TimeoutExpired:
                amid += any(target.glob(".gradwire/part-*.json"))
            workers = _workers(pids)
            if workers and moments.random() < 0.5:
                os.kill(moments.choice(workers), signal.SIGKILL)
                kills["worker"] += 1
                continue
            driver.kill()
            kills["driver"] += driver.wait() == -signal.SIGKILL
            shutil.rmtree(pids)
            pids.mkdir()
            driver = begin(target)
        assert _files(target) == expected
        ids = Counter(pq.read_table(target)["id"].to_pylist())
        assert ids == Counter(range(FILES * ROWS)), "rows are missing, or there twice"
    assert amid > KILLS / 4, "the kills came too early or too late to mean anything"
    print(f"{dict(kills)} killed in {jobs} jobs, {amid} with some units done: no row missing, none twice")
