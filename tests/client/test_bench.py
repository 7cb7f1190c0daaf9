"""`gradwire bench`: counts, quantiles and durations."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import gradwire
from gradwire._cli.main import app
from gradwire._cli.query import LoadTestResult, draw_points, resolve_query, run_load_test


def test_quantiles_are_latencies_that_were_measured():
    """The 99th of 100 latencies, not a number between two."""
    result = LoadTestResult(rows=3, in_flight=2, seconds=50.0, latencies=tuple(np.arange(1, 101) / 1000))
    assert [result.quantile(q) for q in (0.5, 0.99, 1.0)] == [0.050, 0.099, 0.100]
    assert result.to_dict()["calls_per_second"] == 2.0
    assert result.to_dict()["rows_per_second"] == 6.0
    assert LoadTestResult(1, 1, 1.0, (0.2,)).quantile(0.5) == 0.2


def test_points_lie_in_the_domain_of_the_card(multi):
    """Every input, in its own dtype; the seed says which."""
    points = draw_points(multi, resolve_query(multi, "grad"), 100, seed=1)
    assert {name: array.shape for name, array in points.items()} == {"x": (100, 3), "t": (100, 1)}
    assert ((points["x"] >= [-1, 0, 1]) & (points["x"] <= [1, 2, 3])).all()
    assert ((points["t"] >= 0.5) & (points["t"] <= 2)).all()
    again = draw_points(multi, resolve_query(multi, "grad"), 100, seed=1)
    np.testing.assert_array_equal(points["x"], again["x"])


def test_the_number_of_concurrent_calls(make_log):
    """As many as requested, no more, and none after the end; the first call is not measured."""
    running, most, sizes = [], [], []

    def both(x):
        running.append(1)
        sizes.append(len(x))
        most.append(len(running))
        time.sleep(0.01)
        running.pop()
        return {"f": np.log(x), "df_dx": 1 / x}

    model = make_log("float64", both)
    query = resolve_query(model, "grad")
    result = run_load_test(model, query, draw_points(model, query, 5, 0), in_flight=3, seconds=0.2)
    assert max(most) == 3
    assert result.calls == len(sizes) - 1
    assert set(sizes) == {5}
    assert 3 <= result.calls <= 3 * 21


def test_a_call_that_fails_ends_the_load(make_log):
    """With its own error."""
    calls = []

    def both(x):
        calls.append(1)
        if len(calls) > 10:
            raise gradwire.ServerError("too much", code="INTERNAL")
        return {"f": np.log(x), "df_dx": 1 / x}

    model = make_log("float64", both)
    query = resolve_query(model, "grad")
    with pytest.raises(gradwire.ServerError, match="too much"):
        run_load_test(model, query, draw_points(model, query, 1, 0), in_flight=4, seconds=30)


def test_the_command_prints_a_row_per_load(stand_in):
    """Every pair of sizes, as a table and as JSON, for any signature; directions are drawn, too."""

    def run(*words):
        return CliRunner().invoke(app, ["bench", stand_in.target, "curved", "--seconds", "0.2", *words])

    done = run("--rows", "1,7", "--in-flight", "1,2", "--compute", "hvp", "--format", "json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["compute"] == "hvp"
    assert [(load["rows"], load["in_flight"]) for load in printed["loads"]] == [(1, 1), (1, 2), (7, 1), (7, 2)]
    assert all(0 < load["p50_ms"] <= load["p99_ms"] <= load["max_ms"] for load in printed["loads"])
    assert {len(request.inputs) for request in stand_in.requests if request.inputs["x"].dtype} == {4}
    shown = run("--rows", "1", "--in-flight", "1")
    assert "p99 ms" in shown.stdout
    assert "curved" in shown.stdout


@pytest.mark.parametrize("words", [["--rows", "0"], ["--in-flight", "a"], ["--rows", "1,1"], ["--seconds", "0"]])
def test_a_mistake_is_reported(words):
    """Before the server is called."""
    done = CliRunner().invoke(app, ["bench", "localhost:1", "log", *words])
    assert isinstance(done.exception, gradwire.UsageError)
    assert words[0] in str(done.exception)
