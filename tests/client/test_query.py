"""`gradwire query`: every signature, tables through a pipe, and repeated queries."""

from __future__ import annotations

import csv
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gradwire._cli.main import app
from gradwire._cli.query import watch
from gradwire._package.contract import TensorSpec
from gradwire._tables import read_lines

GRADWIRE = Path(sys.executable).with_name("gradwire")
POINT = ["--input", "x=1,2,0.5", "--input", "t=1.5"]
NOW = {"x": np.array([[1.0, 2.0, 0.5]]), "t": np.array([[1.5]])}
X_DOT = np.array([[0.5, -1.0, 2.0]])
NO_T_DOT = np.zeros((1, 1))
# Before click 8.2 a runner mixes the two streams unless it is told not to; since then it has no such option.
MIXES = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters
RUNNER = CliRunner(**({"mix_stderr": False} if MIXES else {}))


@pytest.fixture
def query(stand_in):
    """The command against the stand-in: ``query(model, …, input=text)``."""

    def run(*arguments, **kwargs):
        return RUNNER.invoke(app, ["query", stand_in.target, *arguments], **kwargs)

    return run


def lines(done) -> list[dict]:
    """The rows of an answer in JSON lines."""
    assert done.exit_code == 0, done.output or done.exception
    return [json.loads(line) for line in done.stdout.splitlines()]


def flat(array: np.ndarray) -> list:
    """One row, as JSON has it."""
    return array[0, 0].item() if array.shape == (1, 1) else array[0].tolist()


def test_each_signature_gives_what_the_function_gives(query, closed_forms):
    """value, grad and hessian, in the card's order: outputs, then their derivatives."""
    now = closed_forms["curved"](**NOW)
    expected = {
        "value": ["f", "w"],
        "grad": ["f", "f_x", "f_t", "w", "w_x", "w_t"],
        "hessian": ["f", "f_x", "f_t", "f_xx", "f_xt", "f_tt", "w", "w_x", "w_t", "w_xx", "w_xt", "w_tt"],
    }
    for compute, names in expected.items():
        [row] = lines(query("curved", "--compute", compute, *POINT, "--format", "jsonl"))
        assert list(row) == ["x", "t", *names]
        for name in names:
            np.testing.assert_allclose(row[name], flat(now[name]), rtol=1e-15, err_msg=name)


def test_directions_are_given_by_name_and_the_others_are_zero(query, closed_forms):
    """jvp, hvp and vjp agree with the Jacobian and the Hessian in closed form."""
    now = closed_forms["curved"](**NOW)
    tangent = ["--tangent", "x=0.5,-1,2", *POINT, "--format", "jsonl"]
    [jvp] = lines(query("curved", "--compute", "jvp", *tangent))
    assert jvp["t_dot"] == 0.0
    np.testing.assert_allclose(jvp["f_dot"], (now["f_x"] @ X_DOT.T).item())
    np.testing.assert_allclose(jvp["w_dot"], now["w_x"][0] @ X_DOT[0])
    [hvp] = lines(query("curved", "--compute", "hvp", *tangent))
    np.testing.assert_allclose(hvp["f_x_dot"], now["f_xx"][0] @ X_DOT[0])
    [vjp] = lines(query("curved", "--compute", "vjp", "--cotangent", "w=2,-1", *POINT, "--format", "jsonl"))
    assert vjp["f_bar"] == 0.0
    np.testing.assert_allclose(vjp["x_bar"], np.array([2.0, -1.0]) @ now["w_x"][0])
    assert np.dot(vjp["x_bar"], X_DOT[0]) == pytest.approx(np.dot([2.0, -1.0], jvp["w_dot"]))


def test_any_signature_as_it_stands(query):
    """One that is not in the contract, of a package without a card."""
    assert lines(query("same64", "--signature", "same", "--input", "x=1,2", "--format", "jsonl")) == [
        {"x": [1.0, 2.0], "y": [1.0, 2.0]}
    ]


def test_a_table_comes_through_a_pipe_in_blocks(query, stand_in):
    """CSV in, CSV out, other columns passed over, in order, so many rows a call."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, 1000)
    text = "id,x\n" + "".join(f"{i},{number!r}\n" for i, number in enumerate(x.tolist()))
    done = query("log", "--input", "-", "--block", "300", input=text)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["x", "f", "df_dx"]
    assert [float(row["x"]) for row in rows] == x.tolist()
    assert [float(row["f"]) for row in rows] == np.log(x).tolist()
    sizes = [r.inputs["x"].tensor_shape.dim[0].size for r in stand_in.requests if "x" in r.inputs]
    assert sizes == [300, 300, 300, 100]


def test_a_pipe_is_read_no_further_than_it_is_answered():
    """A generator without an end: what is held is one block."""

    def endless():
        yield "x\n"
        while True:
            yield "0.5\n"

    blocks = read_lines(endless(), {"x": TensorSpec("x", "float64", (None, 1))}, ["x"], 7)
    assert [next(blocks)["x"].shape for _ in range(3)] == [(7, 1)] * 3


def test_json_lines_and_constants(query, closed_forms):
    """An object a line, nested as rows are; one point of another input goes with every row."""
    text = '{"x": [1, 2, 0.5]}\n\n{"x": [0, "NaN", 1]}\n'
    first, second = lines(query("curved", "--input", "-", "--input", "t=1.5", "--format", "jsonl", input=text))
    np.testing.assert_allclose(first["w_x"], closed_forms["curved"](**NOW)["w_x"][0])
    assert second["x"] == [0.0, "NaN", 1.0]
    assert second["f"] == "NaN"


def test_what_csv_prints_can_be_asked_again(query, tmp_path):
    """The columns of an answer are the columns of a question, tangents included."""
    first = query("curved", "--compute", "jvp", *POINT, "--tangent", "x=1,0,0", "--format", "csv").stdout
    (tmp_path / "points.csv").write_text(first)
    assert query("curved", "--compute", "jvp", "--input", f"@{tmp_path / 'points.csv'}").stdout == first


MISTAKES = {
    "nothing asked": (["log"], "", "no points: give --input for ['x']"),
    "unknown input": (["log", "--input", "y=1"], "", "sent extra: {y}"),
    "missing input": (["curved", "--input", "t=1"], "", "missing but required: {x}"),
    "no direction": (["log", "--compute", "hvp", "--input", "x=1"], "", "expected 'hvp' among them"),
    "direction missing": (["curved", "--compute", "vjp", *POINT], "", "--cotangent NAME=NUMBERS"),
    "direction of another": (["log", "--tangent", "x=1", "--input", "x=1"], "", "goes with --compute jvp or"),
    "no signature": (["log", "--signature", "none", "--input", "x=1"], "", "'none' among them"),
    "empty pipe": (["log", "--input", "-"], "\n", "standard input is empty"),
    "header alone": (["log", "--input", "-"], "x\n", "a header and no rows"),
    "no header": (["log", "--input", "-"], "0.5\n1.0\n", "missing but required: {x}"),
    "a column missing": (
        ["curved", "--input", "-"],
        "x[0],x[1],t\n1,2,3\n",
        "missing but required: {x[2]}",
    ),
    "text in a cell": (["log", "--input", "-"], "x\n1\nabc\n", "row 2, column 'x': 'abc' is not a number"),
    "a short line": (["log", "--input", "-"], "id,x\n1,1\n2\n", "row 2 has 1 cells, expected 2: id, x"),
    "bad JSON": (["log", "--input", "-"], '{"x": 1}\n{"x": \n', "line 2 is not JSON"),
    "JSON of text": (["log", "--input", "-"], '{"x": "a"}\n', "line 1: 'x' is 'a', expected numbers"),
    "JSON too long": (["log", "--input", "-"], '{"x": [1, 2]}\n', "has 2 numbers, expected 1"),
    "no file": (["log", "--input", "@none.csv"], "", "cannot read none.csv"),
    "two tables": (["log", "--input", "-", "--input", "@a.csv"], "", "2 tables"),
    "two constants": (["curved", "--input", "-", "--input", "t=1;2"], "x\n", "one point, for every row"),
    "watch no time": (["log", "--input", "x=1", "--watch", "0"], "", "expected seconds, more than 0"),
    "watch a table": (["log", "--input", "-", "--watch", "1"], "", "a table can be read once"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_error(name, query):
    """The message names what was got, and what to do."""
    arguments, text, message = MISTAKES[name]
    done = query(*arguments, input=text)
    assert done.exit_code == 1  # the runner's, of an exception that `main` turns into a line and exit code 2
    assert done.exception.exit_code == 2
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_is_not_a_fault(stand_in, tmp_path):
    """`… | head -1` ends silently."""
    (tmp_path / "points.csv").write_text("x\n" + "0.5\n" * 20_000)
    words = [GRADWIRE, "query", stand_in.target, "log", "--input", "@points.csv", "--block", "100"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == "x,f,df_dx\n"
        process.stdout.close()
        assert process.stderr.read() == f"answers of log version 1 at {stand_in.target}\n"
    assert process.returncode == 0


@pytest.mark.slow
def test_watch_prints_what_changes_until_ctrl_c(stand_in):
    """A pipe gets the first response, and then those of a new version; Ctrl-C ends the command without a fault."""
    words = [GRADWIRE, *f"query {stand_in.target} log --input x=2 --format csv --watch 0.05".split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["x,f,df_dx\n", f"2.0,{np.log(2)!s},0.5\n"]
        stand_in.models["log"][2] = stand_in.models["versions"][2]
        assert process.stdout.readline() == f"2.0,{2 * np.log(2)!s},1.0\n"
        calls = len(stand_in.requests)
        while len(stand_in.requests) < calls + 6:  # some more responses, which are the same
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out == ""
    assert ["version 1" in line or "version 2" in line for line in err.splitlines()] == [True, True]
    assert process.returncode == 0


def test_watch_outlasts_a_server_that_restarts(log, monkeypatch):
    """A transient error is reported; any other ends the watch."""
    from gradwire import ServerUnreachable, SignatureNotFound

    notes = []
    monkeypatch.setattr(watch, "note", notes.append)
    responses = iter([{"f": np.ones(1)}, ServerUnreachable("gone"), {"f": np.ones(1)}, SignatureNotFound("moved on")])

    def once():
        response = next(responses)
        if isinstance(response, Exception):
            raise response
        return response

    with pytest.raises(SignatureNotFound):
        watch.watch_query(log, once, watch.Format.CSV, 1e-3)
    assert len(notes) == 2
    assert notes[1].endswith("gone")
