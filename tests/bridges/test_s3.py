"""Batch jobs on an object store: a local S3 server, rows from it and results to it, each exactly once."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

import gradwire
from gradwire import DataError, PackageError, UsageError
from gradwire.batch import _job, _storage, run
from gradwire.testing import FakeModel

FILES, ROWS, GROUP = 2, 60, 10
UNITS = FILES * ROWS // GROUP
GLOB = "s3://bucket/2026/*.parquet"
# A job that is killed from outside: every unit takes a while.
CHILD = f"""
import sys, time
import numpy as np
from gradwire.batch import _job, run
from gradwire.testing import FakeModel

_job.UNIT_ROWS = {GROUP}

def slow(x):
    time.sleep(0.1)
    return np.log(x)

run({GLOB!r}, sys.argv[1], model=FakeModel(slow, lambda x: 1 / x, name="log").connect())
"""


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """An S3 of this process, which all processes find by their environment; with a bucket of rows."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = _store()
        store.mkdir("bucket")
        x = np.random.default_rng(0).uniform(0.5, 2, (FILES, ROWS))
        for index, part in enumerate(x):
            rows, stream = pa.table({"id": np.arange(ROWS) + index * ROWS, "x": part}), io.BytesIO()
            pq.write_table(rows, stream, row_group_size=GROUP)
            store.pipe_file(f"bucket/2026/{index}.parquet", stream.getvalue())
        store.pipe_file("bucket/2026/notes.md", b"none of the rows")
        yield
    moto.stop()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> gradwire.Model:
    """The logarithm, and units of ten rows."""
    monkeypatch.setattr(_job, "UNIT_ROWS", GROUP)
    return FakeModel(np.log, lambda x: 1 / x, name="log").connect()


def _store() -> Any:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return s3fs.S3FileSystem()


def _names(place: str) -> list[str]:
    """The name of every object below a place, and beside it."""
    return _store().find(_folder(place))


def _folder(place: str) -> str:
    return place.rstrip("/").removeprefix("s3://").rpartition("/")[0]


def _objects(place: str) -> dict[str, bytes]:
    """The same with their contents."""
    store = _store()
    return {name[len(_folder(place)) :]: store.cat_file(name) for name in _names(place)}


def _rows(place: str) -> dict[str, list[Any]]:
    store = _store()
    paths = [name for name in store.find(place.removeprefix("s3://")) if name.endswith("parquet") and "/." not in name]
    tables = [pq.read_table(io.BytesIO(store.cat_file(name))) for name in paths]
    return pa.concat_tables(tables).sort_by("id").to_pydict()


TARGETS = ["out/", "out.parquet"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_glob_in_a_bucket_and_results_in_it(log, target, tmp_path):
    """Rows by the pattern alone; the same rows, bytes but for where they came from, and manifest as files have."""
    place = f"s3://bucket/plain/{target}/{target}"
    result = run(GLOB, place, model=log)
    assert (result.rows, result.computed, result.complete) == (FILES * ROWS, FILES * ROWS, True)
    columns = _rows(place)
    assert columns["id"] == list(range(FILES * ROWS))
    np.testing.assert_array_equal(columns["f"], np.log(columns["x"]))
    names = [name.rpartition("/")[2] for name in _objects(place)]
    assert len(names) == (UNITS + 1 if target.endswith("/") else 2)
    assert not any(".gradwire" in name for name in _objects(place))
    run(GLOB, f"{tmp_path}/{target}", model=log)
    local = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name.rpartition("/")[2]: data for name, data in _objects(place).items()} == local
    assert run(GLOB, place, model=log).computed == 0


@pytest.mark.slow  # an interpreter starts
@pytest.mark.parametrize("target", TARGETS)
def test_a_job_that_was_killed_goes_on_with_the_same_objects(log, target):
    """What is done is not done again, and the end is that of a job that was left alone, to the last byte."""
    alone, place = f"s3://bucket/alone/{target}/{target}", f"s3://bucket/killed/{target}/{target}"
    run(GLOB, alone, model=log)
    child = subprocess.Popen([sys.executable, "-c", CHILD, place])

    def done() -> int:
        # Names alone: a job that runs removes some before they could be read.
        return sum("part-" in name and name.endswith(".json") for name in _names(place))

    while done() < 3:
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    before = done()
    assert 3 <= before < UNITS
    assert run(GLOB, place, model=log).computed == FILES * ROWS - before * GROUP
    assert _objects(place) == _objects(alone)


@pytest.mark.parametrize("target", TARGETS)
def test_an_upload_that_is_interrupted_leaves_no_object(log, target, monkeypatch):
    """Not even a part of one: fsspec's own files put what they hold in place when an error closes them."""
    place = f"s3://bucket/cut/{target}/{target}"
    copied = []

    def copy(source: Any, stream: Any, size: int) -> None:
        stream.write(source.read(7))
        copied.append(stream.path)
        if len(copied) > 4:
            raise KeyboardInterrupt
        stream.write(source.read())

    with monkeypatch.context() as patch:
        patch.setattr(_storage.shutil, "copyfileobj", copy)
        with pytest.raises(KeyboardInterrupt):
            run(GLOB, place, model=log)
    sizes = {name.rpartition("/")[2]: len(data) for name, data in _objects(place).items()}
    assert len(sizes) == len(set(copied[:4]))
    assert 7 not in sizes.values()
    result = run(GLOB, place, model=log)
    assert result.complete
    assert _rows(place)["id"] == list(range(FILES * ROWS))


def test_the_commit_refuses_an_object_that_came_during_the_job(log):
    """By the store's own condition, even where it comes between the look and the upload; the results are kept."""
    place = "s3://bucket/race/out.parquet"
    store = _store()
    opened = _storage._RemoteStaged._opened

    def come(staged: Any, mode: str) -> Any:
        if staged._target.endswith("out.parquet"):
            store.pipe_file(staged._target, b"another's")
        return opened(staged, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_storage._RemoteStaged, "_opened", come)
        with pytest.raises(PackageError, match="came to be there during the job"):
            run(GLOB, place, model=log)
    assert store.cat_file("bucket/race/out.parquet") == b"another's"
    with pytest.raises(UsageError, match="unfinished job of another options"):
        run(GLOB, place, model=log, compute="value")
    store.rm("bucket/race/out.parquet")
    assert run(GLOB, place, model=log).computed == 0
    assert _rows(place)["id"] == list(range(FILES * ROWS))


@pytest.fixture
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where nobody has logged in."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", {**os.environ, "HOME": "/nonexistent"})
    _store()
    yield
    monkeypatch.undo()
    _store()


@pytest.mark.usefixtures("without_credentials")
def test_missing_credentials_are_one_line(log, tmp_path):
    """Where rows are read, and where results would go."""
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=r"cannot read s3://bucket/2026/\*.parquet: .*[Cc]redentials") as caught:
        run(GLOB, tmp_path / "out.parquet", model=log)
    assert "\n" not in str(caught.value)
    with pytest.raises(PackageError, match=r"cannot write to s3://bucket/none/: .*[Cc]redentials") as written:
        run(tmp_path / "in.parquet", "s3://bucket/none/", model=log)
    assert "\n" not in str(written.value)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["in.parquet"]


def test_a_bucket_that_there_is_not_is_told_and_not_made(log, tmp_path):
    """A slip of the pen makes no bucket, and nothing is computed."""
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "in.parquet")
    with pytest.raises(PackageError, match="there is no bucket buckett; give a place"):
        run(tmp_path / "in.parquet", "s3://buckett/out/", model=log)
    with pytest.raises(DataError, match=r"s3://buckett/in.parquet"):
        run("s3://buckett/in.parquet", tmp_path / "out.parquet", model=log)
    assert _store().ls("") == ["bucket"]
