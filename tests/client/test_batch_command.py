"""The command `gradwire batch`: its options, its summary, and signals."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gradwire._cli.commands import batch as command
from gradwire._cli.main import app
from gradwire.batch import _job
from gradwire.testing import FakeModel


def _log(x):
    with np.errstate(divide="ignore"):
        return np.log(x)


def _inverse(x):
    with np.errstate(divide="ignore"):
        return 1 / x


@pytest.fixture
def fake(monkeypatch):
    """The logarithm behind --model log."""
    model = FakeModel(_log, _inverse, dtype="float32", domain={"x": (0.5, 2.0)})
    monkeypatch.setattr(command, "open_model", lambda *args, **kwargs: model.connect())
    return model


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with ten rows in five row groups, two of which are units."""
    monkeypatch.setattr(_job, "UNIT_ROWS", 4)
    x = [0.25, 1.0, 0.0, 1.5, None, 0.75, 0.75, 1.0, 1.0, 1.0]
    pq.write_table(pa.table({"S0": x}), tmp_path / "in.parquet", row_group_size=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*words, code=0):
    done = CliRunner().invoke(app, ["batch", *words, "--model", "log"])
    assert done.exit_code == code, done.output
    return done


@pytest.mark.usefixtures("fake", "place")
def test_the_summary_counts_what_to_know():
    """Rows, those outside of the domain, those without a finite result, and those left out; the path on its own."""
    done = _run("in.parquet", "out.csv", "--map", "x=S0", "--on-error", "skip", "--flag-outside", "--compute", "value")
    assert done.stdout == "out.csv\n"
    assert re.fullmatch(
        r"10 rows by version 1 in [\d.]+ s \([\d,]+ rows/s\); 2 outside of the domain; 1 with results that are not "
        r"finite; 1 that could not be read; added columns: f, outside_domain\n",
        done.stderr,
    )
    assert Path("out.csv").read_text().splitlines()[:4] == [
        '"S0","f","outside_domain"',
        "0.25,-1.3862944,true",
        "1,0,false",
        "0,-inf,true",
    ]
    assert (
        "10 of them done before"
        in _run(
            "in.parquet", "out.csv", "--map", "x=S0", "--on-error", "skip", "--flag-outside", "--compute", "value"
        ).stderr
    )


@pytest.mark.usefixtures("fake", "place")
def test_shards_and_formats():
    """A format for the files of a directory; a shard says that there is more to do."""
    words = ["in.parquet", "parts/", "--map", "x=S0", "--on-error", "null", "--format", "arrow", "--shard"]
    assert "other shards have units to do" in _run(*words, "1/2").stderr
    assert "4 of them done before" in _run(*words, "0/2").stderr
    for shard in ("2/2", "1", "a/b"):
        assert "expected K/N" in str(CliRunner().invoke(app, ["batch", *words, shard, "--model", "log"]).exception)


def test_sigterm_ends_the_job_as_ctrl_c_does(fake, place):
    """With the exit code that a shell reports; the same command goes on, and the handler is as it was."""
    before = signal.getsignal(signal.SIGTERM)
    calls = []

    def log(x):
        calls.append(len(x))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return _log(x)

    fake.publish(log, _inverse)
    words = ["in.parquet", "out.parquet", "--map", "x=S0", "--on-error", "null"]
    assert "the same command goes on" in _run(*words, code=128 + signal.SIGTERM).stderr
    assert signal.getsignal(signal.SIGTERM) is before
    assert not list(place.rglob("*.tmp"))
    assert not (place / "out.parquet").exists()
    _run(*words)
    assert pq.read_table("out.parquet")["f"].null_count == 1
    assert sorted(path.name for path in place.iterdir()) == [
        "in.parquet", "out.parquet", "out.parquet.errors.jsonl", "out.parquet.manifest.json",
    ]  # fmt: skip
