"""Batch jobs on Ray: the results of a job in one process, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from typer.testing import CliRunner

import gradwire
from gradwire import DataError, MissingExtra, PackageError, ServerError, ServerUnreachable, UsageError
from gradwire._cli.main import app
from gradwire.batch import BatchOptions, Computation, RayEngine, Source, _ray, plan, run
from gradwire.testing import FakeModel

FILES, ROWS = 8, 50
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
    r"ignore:os\.fork\(\) was called:RuntimeWarning",  # JAX's, where its tests ran in this process before
)
# A driver that is killed from outside: every block takes a while, so that the job is at work for some seconds.
DRIVER = """
import sys, time
import numpy as np
from gradwire.batch import RayEngine, run
from gradwire.testing import FakeModel

def slow(x):
    time.sleep(0.05)
    return np.log(x)

source, sink, address = sys.argv[1:]
log = FakeModel(slow, lambda x: 1 / x, name="log").connect()
run(source, sink, model=log, block_rows=5, engine=RayEngine(address=address))
"""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    """A Ray of two CPUs on this machine; its address."""
    for name, value in _ray.ENVIRONMENT.items():
        os.environ[name] = value
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def log() -> gradwire.Model:
    """The logarithm, without a server and without TensorFlow."""
    return FakeModel(np.log, lambda x: 1 / x, name="log").connect()


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A directory of files, each of them a unit."""
    folder = tmp_path / "points"
    folder.mkdir()
    x = np.random.default_rng(0).uniform(0.5, 2, (FILES, ROWS))
    for index, part in enumerate(x):
        pq.write_table(pa.table({"id": np.arange(ROWS) + index * ROWS, "x": part}), folder / f"{index}.parquet")
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _dying(marker: Path, *, always: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """The logarithm of a process that is killed at its first call, or at each."""

    def compute(x: np.ndarray) -> np.ndarray:
        if always or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.log(x)

    return compute


@pytest.mark.parametrize("target", ["out/", "out.csv"])
def test_names_bytes_and_manifest_are_those_of_one_process(log, points, target, tmp_path):
    """A directory and a file; by the engine's name and from a relative path."""
    run(points, f"{tmp_path}/local/{target}", model=log)
    seen: list[tuple[int, int]] = []
    result = run(
        os.path.relpath(points), os.path.relpath(tmp_path / "ray" / target) + "/" * target.endswith("/"), model=log,
        engine="ray", on_progress=lambda *counts: seen.append(counts),
    )  # fmt: skip
    assert _files(tmp_path / "ray") == _files(tmp_path / "local")
    assert (result.rows, result.computed, result.complete) == (FILES * ROWS, FILES * ROWS, True)
    assert seen == [(ROWS * (index + 1), FILES * ROWS) for index in range(FILES)]


def test_a_worker_that_dies_is_started_again(log, points, tmp_path):
    """Its unit is run once more, and the result is that of an undisturbed run."""
    run(points, tmp_path / "local", model=log)
    dying = FakeModel(_dying(tmp_path / "died"), lambda x: 1 / x, name="log").connect()
    run(points, tmp_path / "ray", model=dying, engine=RayEngine(workers=1))
    assert (tmp_path / "died").exists()
    assert _files(tmp_path / "ray") == _files(tmp_path / "local")


def test_a_unit_that_kills_its_worker_each_time_ends_the_job(points, tmp_path, monkeypatch):
    """Not without end: a unit that needs more memory than there is does so again."""
    monkeypatch.setattr(_ray, "RETRIES", 1)
    dying = FakeModel(_dying(tmp_path / "died", always=True), lambda x: 1 / x).connect()
    with pytest.raises(ServerError, match=r"worker died of the unit part-00000-.*, 2 times: .*fewer workers"):
        run(points, tmp_path / "out", model=dying, engine=RayEngine(workers=1))


@pytest.mark.slow  # two interpreters start
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_job_whose_driver_was_stopped_goes_on(log, points, number, cluster, tmp_path):
    """What is done is not done again; Ctrl-C leaves nothing half-written."""
    run(points, tmp_path / "local", model=log, block_rows=5)
    out = tmp_path / "ray"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, points, out, cluster], stderr=subprocess.DEVNULL)
    while len(list(out.glob(".gradwire/part-*.json"))) < 2:
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(number)
    assert driver.wait(timeout=60) == -number
    done = len(list(out.glob(".gradwire/part-*.json")))
    assert done < FILES
    if number == signal.SIGINT:
        assert not list(out.rglob("*.tmp"))
        assert len(list(out.glob("part-*"))) == done
    result = run(points, out, model=log, block_rows=5, engine="ray")
    assert result.computed <= (FILES - done) * ROWS
    assert _files(out) == _files(tmp_path / "local")


def test_a_bad_row_is_told_as_in_one_process(log, points, tmp_path):
    """The message of the worker is the driver's, and the job goes on without the row, keeping what is done."""
    x = pa.array([1.0, None])
    pq.write_table(pa.table({"id": [0, 1], "x": x}), points / "7.parquet")
    with pytest.raises(DataError) as local:
        run(points, tmp_path / "local", model=log)
    with pytest.raises(DataError) as remote:
        run(points, tmp_path / "ray", model=log, engine="ray")
    assert str(remote.value) == str(local.value)
    assert run(points, tmp_path / "ray", model=log, engine="ray", on_error="skip").computed <= 2 * ROWS
    run(points, tmp_path / "local", model=log, on_error="skip")
    assert _files(tmp_path / "ray") == _files(tmp_path / "local")


def test_workers_that_see_another_target_or_package_take_no_part(log, points, monkeypatch, tmp_path):
    """Memory is each process's own, as a disk is each machine's; a digest says what a package is."""
    with pytest.raises(PackageError, match=r"does not see /out/.gradwire: give paths that all machines reach"):
        run(points, "memory://out/", model=log, engine="ray")
    monkeypatch.setattr(os, "environ", dict(os.environ))  # a worker sets its own
    other = FakeModel(np.log, lambda x: 2 / x, name="other").connect()
    rows, options = Source(points), BatchOptions()
    job = plan(rows, tmp_path / "out", options, Computation(log, options, rows.schema).package, None)
    refused = _ray.Worker(0.0).prepare(ray.cloudpickle.dumps((job, other)))
    with pytest.raises(PackageError, match=r"has the package .*, expected .*: give all machines the same"):
        raise refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": 0}, UsageError, "0 workers, expected one at least"),
        ({"gpus_per_worker": 1.5}, UsageError, "1.5 GPUs a worker, expected 0, a fraction"),
        ({"gpus_per_worker": -1}, UsageError, "-1 GPUs a worker"),
        ({"gpus_per_worker": 1}, ServerUnreachable, "has 2 CPUs and 0 GPUs, and a worker needs 1 and 1"),
        ({"address": "auto"}, UsageError, "connected to a Ray cluster already"),
    ],
)
def test_options_that_cannot_be_are_refused(log, points, options, error, message, tmp_path):
    """Nothing is written."""
    with pytest.raises(error, match=message):
        run(points, tmp_path / "out", model=log, engine=RayEngine(**options))
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_does_not_respond_is_named(log, points, monkeypatch, tmp_path):
    """As for a server; nothing is written."""

    def init(*args, **options):
        raise ConnectionError("nobody listens")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ServerUnreachable, match="no Ray cluster at head:1: nobody listens"):
        run(points, tmp_path / "out", model=log, engine=RayEngine(address="head:1"))
    assert not (tmp_path / "out").exists()


def test_an_engine_that_there_is_not_is_named(log, points, tmp_path):
    """By Python; the command has the same words."""
    with pytest.raises(UsageError, match="engine 'spark', expected one of local, ray"):
        run(points, tmp_path / "out", model=log, engine="spark")


def test_where_ray_is_missing_its_extra_is_named(monkeypatch):
    """Before anything is read."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"needs ray: pip install 'gradwire\[ray\]'"):
        RayEngine()


def test_the_command_takes_the_same_options(address, points, tmp_path):
    """Through a server, with a column under another name; options of Ray without Ray are refused."""
    common = ["batch", str(points), "--server", address, "--name", "log"]
    runner = CliRunner()
    for target, more in (("local", []), ("ray", ["--engine", "ray", "--workers", "2"])):
        result = runner.invoke(app, [*common, str(tmp_path / target), *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert _files(tmp_path / "ray") == _files(tmp_path / "local")
    refused = runner.invoke(app, [*common, str(tmp_path / "out"), "--workers", "2"])
    assert isinstance(refused.exception, UsageError) or refused.exit_code == UsageError.exit_code
    assert "are for --engine ray" in f"{refused.output}{refused.exception}"
