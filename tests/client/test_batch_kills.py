"""A kill storm: batch jobs are killed at random moments, and every row is in the result once, to the last bit.

KILLS in the environment says how often (`make storm`); the moments are those of a seed and of the machine.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gradwire.batch import run
from gradwire.testing import FakeModel

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "8"))
ROWS, GROUP = 1200, 50
SECONDS = 0.03  # of a block: a job of half a second

# The model, and a job in a process of its own, which says when it begins.
CHILD = f"""
import sys, time
import numpy as np
import pyarrow.dataset, pyarrow.parquet
from gradwire.batch import _job, run
from gradwire.testing import FakeModel

_job.UNIT_ROWS = {GROUP}

def slow(x):
    time.sleep({SECONDS})
    return np.log(x)

model = FakeModel(slow, lambda x: 1 / x, dtype="float32").connect()
print("begun", flush=True)
try:
    result = run(sys.argv[1], sys.argv[2], model=model)
except KeyboardInterrupt:
    sys.exit(130)
print("done", result.rows, flush=True)
"""


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Rows with numbers, in 24 row groups."""
    import pyarrow as pa

    path = tmp_path_factory.mktemp("storm") / "points.parquet"
    table = pa.table({"id": np.arange(ROWS), "x": np.random.default_rng(0).uniform(0.5, 2.0, ROWS)})
    pq.write_table(table, path, row_group_size=GROUP)
    return path


def _begin(points, target):
    child = subprocess.Popen([sys.executable, "-c", CHILD, points, target], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    return child


def _files(target):
    folder = Path(target).parent
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


def _units(target):
    return len(list(Path(target.rstrip("/")).parent.rglob("part-*.json")))


def test_every_row_once_whenever_it_is_killed(points, tmp_path, monkeypatch):
    """As a file and as a directory, in turn; the files are those of a job that was left alone."""
    from gradwire.batch import _job

    monkeypatch.setattr(_job, "UNIT_ROWS", GROUP)
    model = FakeModel(np.log, lambda x: 1 / x, dtype="float32").connect()
    expected = {}
    for kind in ("out/", "out.parquet"):
        run(points, f"{tmp_path}/alone-{kind.strip('/')}/{kind}", model=model)
        expected[kind] = _files(f"{tmp_path}/alone-{kind.strip('/')}/{kind.strip('/')}")
    moments, kills, jobs, amid = random.Random(0), 0, 0, 0
    while kills < KILLS:
        kind = ("out/", "out.parquet")[jobs % 2]
        target, jobs = f"{tmp_path}/{jobs}/{kind}", jobs + 1
        for _ in range(4):
            child = _begin(points, target)
            if kills % 2:  # amid work, however slow the machine is
                before = _units(target)
                while _units(target) == before and child.poll() is None:
                    time.sleep(0.01)
                time.sleep(moments.uniform(0, 4 * SECONDS))
            else:
                time.sleep(moments.uniform(0, ROWS / GROUP * SECONDS))
            child.kill()
            kills += child.wait() == -signal.SIGKILL
            assert child.stdout is not None
            child.stdout.close()
            amid += _units(target) > 0
            if kills == KILLS:
                break
        child = _begin(points, target)
        out, _ = child.communicate()
        assert (out, child.returncode) == (f"done {ROWS}\n", 0)
        assert _files(target.rstrip("/")) == expected[kind]
        ids = Counter(pq.read_table(target.rstrip("/"))["id"].to_pylist())
        assert ids == Counter(range(ROWS)), "rows are missing, or there twice"
    assert amid >= KILLS / 4, "the kills came too early or too late to mean anything"
    print(f"{kills} kills of {jobs} jobs, {amid} of them with some units done: no row missing, none twice")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_half_written(points, tmp_path, number):
    """The units that are done, and no others; the next run takes them over."""
    target = f"{tmp_path}/out.parquet"
    code = CHILD.replace(
        "model =", f"import signal; signal.signal(signal.{number.name}, signal.default_int_handler)\nmodel ="
    )
    child = subprocess.Popen([sys.executable, "-c", code, points, target], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    work = tmp_path / ".out.parquet.gradwire"
    while not list(work.glob("part-*.json")):
        time.sleep(0.01)
    child.send_signal(number)
    child.communicate()
    assert child.returncode == 130
    assert not list(work.glob("*.tmp"))
    records = {path.stem for path in work.glob("part-*.json")}
    assert {path.stem for path in work.glob("part-*.arrows")} == records
    assert json.loads((work / "job.json").read_text())["parts"]
    child = _begin(points, target)
    assert child.communicate()[0] == f"done {ROWS}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "out.parquet.manifest.json"]
