"""The benchmarks as text and as arithmetic: every rival can be built, and the tables say what was measured."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RIVALS = ROOT / "benchmarks" / "rivals"
ECHO = """
import json, sys
print("a library's greeting")
print(json.dumps({"echo": "1.0"}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"f": [asked["at"]] * 4, "df_dx": [None] * 4, "steps": [1] * 4}), flush=True)
"""


@pytest.fixture
def rivals(monkeypatch):
    """The module that knows the rivals."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks._rivals")


@pytest.fixture
def table(monkeypatch):
    """The module that makes the table."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.training_rivals")


@pytest.fixture
def track(monkeypatch):
    """A track of two marks on a clock that the test sets."""
    spec = importlib.util.spec_from_file_location("_driver", RIVALS / "_driver.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_driver", module)
    spec.loader.exec_module(module)
    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    found = module.Track([1.0, 2.0])
    found.start()

    def offer(seconds, loss, weights):
        clock[0] = seconds
        found.offer(loss, lambda: weights)

    return found, offer, module.OutOfTimeError


@pytest.fixture
def driver(rivals, monkeypatch, tmp_path):
    """Starts a driver made of a text; ends it after the test."""
    monkeypatch.setattr(rivals, "DRIVERS", tmp_path)
    running = []

    def start(text):
        (tmp_path / "made_driver.py").write_text(text)
        running.append(rivals.Driver(rivals.Rival("made", "made", None)))
        return running[-1]

    yield start
    for each in running:
        each.close()


def test_every_rival_has_a_driver_and_pins(rivals):
    """What `make bench-rivals` installs is fixed to the version, so that numbers can be compared."""
    known = (*rivals.RIVALS, *rivals.WIRE_RIVALS, rivals.CHEBYSHEV, rivals.FILE_RIVAL)
    for rival in known:
        assert (RIVALS / f"{rival.driver}_driver.py").is_file()
        if rival.environment is not None:
            lines = (RIVALS / f"{rival.environment}.txt").read_text().splitlines()
            assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []
    assert {path.stem for path in RIVALS.glob("*.txt")} == {r.environment for r in known if r.environment}


def test_a_track_keeps_the_best_weights_before_each_mark(track):
    """Not the last ones, and none of after the mark; the last mark ends the fit."""
    best, offer, out_of_time = track
    offer(0.2, 3.0, "a")
    offer(0.4, 1.0, "b")
    offer(0.9, 2.0, "c")
    offer(1.1, 0.5, "d")
    with pytest.raises(out_of_time):
        offer(2.5, 0.1, "e")
    assert best.snapshots == [("b", 2), ("d", 4)]


def test_a_fit_that_ends_early_has_its_best_at_every_mark(track):
    """Nothing changes after its end."""
    best, offer, _ = track
    offer(0.2, 3.0, "a")
    best.finish()
    assert best.snapshots == [("a", 1), ("a", 1)]


def test_a_driver_is_asked_in_json(driver):
    """What its libraries print before is passed over."""
    made = driver(ECHO)
    assert made.versions == {"echo": "1.0"}
    assert made.ask(at=[0.5, 1.0])["f"][3] == [0.5, 1.0]


def test_a_driver_that_ends_is_told_in_its_row(driver):
    """The benchmark goes on without it."""
    made = driver("raise SystemExit(3)")
    assert made.ask(at=[1.0]) is None
    assert made.failure == "failed: its driver ended with exit code 3"


def test_a_rival_that_is_not_installed_is_a_row(table, rivals, monkeypatch, tmp_path):
    """It says what to do."""
    monkeypatch.setattr(rivals, "ENVIRONMENTS", tmp_path)
    assert [rival.driver for rival in rivals.RIVALS if rival.is_installed] == ["keras"]
    runs = [table.Run(table.OURS, "sobolev", seed, ((1e-5, 1e-3),) * 4) for seed in table.SEEDS]
    shown = table._report("sobolev", runs, {}, 1.0).markdown()
    assert shown.count("| jenn") == 1
    assert "not installed: make bench-rivals" in shown
    assert "1.0e-05 / 1.0e-03" in shown
    assert "No rival ran." in shown


def test_the_table_says_where_a_rival_wins(table):
    """Medians over the seeds are compared, mark by mark and column by column; no answer is no win."""
    better = ((1e-6, 1e-2), (1e-4, 1e-2), (1e-4, 1e-2), (math.inf, math.inf))
    runs = [table.Run(table.OURS, "value", seed, ((1e-5, 1e-3),) * 4) for seed in table.SEEDS]
    lost = [*runs, *(table.Run("them", "value", seed, better) for seed in table.SEEDS)]
    assert table._verdict("value", lost) == "Below ours: them at 0.5 s in f."
    assert "below every rival" in table._verdict("value", [*runs, table.Run("them", "value", 0, better[1:2] * 4)])


class Stub:
    """Calls that end at once with a status, or never."""

    def __init__(self, code=None):
        self.code_of = code
        self.timeouts = []

    def future(self, request, timeout):
        self.timeouts.append(timeout)
        return self

    def add_done_callback(self, callback):
        if self.code_of is not None:
            callback(self)

    def code(self):
        return self.code_of

    def exception(self):
        return RuntimeError("refused")


@pytest.fixture
def load(monkeypatch):
    """The module that loads a server."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.serving")


def test_a_call_that_never_ends_ends_the_benchmark(load, monkeypatch):
    """Each call has a time limit, and so has the wait for those under way: nothing stands still for ever."""
    monkeypatch.setattr(load, "TIMEOUT", 0.05)
    stub = Stub()
    with pytest.raises(TimeoutError, match="of 3 calls in flight some did not end"):
        load._in_flight(stub, b"", 3, 0.0)
    assert stub.timeouts == [0.05] * 3


def test_a_call_that_fails_ends_the_benchmark(load):
    """A rate of failures is no rate."""
    with pytest.raises(RuntimeError, match="refused"):
        load._in_flight(Stub(grpc.StatusCode.UNAVAILABLE), b"", 3, 0.0)
    elapsed, latencies = load._in_flight(Stub(grpc.StatusCode.OK), b"", 3, 0.0)
    assert len(latencies) == 3
    assert elapsed >= max(latencies)


@pytest.fixture
def speed(monkeypatch):
    """The module that measures how near to the limit we are."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.speed")


def test_the_reference_of_the_engines_is_a_function_and_its_derivatives(speed, tmp_path):
    """Its Jacobian is that of its values, by central differences; the errors of engines are against it."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((3, 5), (5,), (5, 4), (4,), (4, 2), (2,))]
    np.savez(tmp_path / "weights.npz", *weights)
    x, step = random.uniform(-1, 1, (6, 3)), 1e-6
    _, jacobian = speed._reference(tmp_path, x)
    for each in range(3):
        ends = [speed._reference(tmp_path, x + side * step * np.eye(3)[each])[0] for side in (1, -1)]
        np.testing.assert_allclose(jacobian[:, :, each], (ends[0] - ends[1]) / (2 * step), rtol=1e-7, atol=1e-8)


def test_errors_are_in_units_in_the_last_place(speed):
    """A number that is one and a half units off is so in the median; the largest is in units of the largest number."""
    exact = np.array([[1.0], [1.0], [4.0]])
    off = exact + np.array([[1.5], [1.5], [0.0]]) * np.spacing(np.float32(1))
    assert speed._ulp((off, off), (exact, exact)) == [[1.5, 1.5 / 4]] * 2


def test_the_exponent_of_a_power(speed):
    """That of all steps, and of the last tenfold."""
    column = {1: [1.0, 9.0, 1.0], 10: [1.0], 100: [10.0], 1000: [1000.0]}
    assert speed._exponent(column, last=2) == pytest.approx(2.0)
    assert speed._exponent({at: [at**1.5] for at in column}) == pytest.approx(1.5)
