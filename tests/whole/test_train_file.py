"""`gradwire train` on files: what reaches the card, what is refused, and a killed command that is resumed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import typer

import gradwire_export
from gradwire._cli.choices import Loss, OptimizerName
from gradwire._cli.commands import train as command_module
from gradwire._errors import DataError, GradwireError, UsageError

pytestmark = pytest.mark.slow  # fits and exports through the command

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ROWS = 60
NAMED = {"inputs": "spot,vol", "outputs": "price"}
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with data.parquet: price = spot^2 vol, with delta and vega, some of them missing."""
    place = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(6)
    spot, vol = generator.uniform(0.5, 1.5, ROWS), generator.uniform(0.1, 0.4, ROWS)
    frame = pd.DataFrame({"day": "monday", "spot": spot, "vol": vol, "price": spot**2 * vol})
    frame["dprice_dspot"], frame["dprice_dvol"] = 2 * spot * vol, spot**2
    frame.loc[::7, "dprice_dvol"] = None
    frame.to_parquet(place / "data.parquet")
    return place


@pytest.fixture
def train(monkeypatch, place):
    """The command as a function in this process, where TensorFlow is loaded already."""
    monkeypatch.chdir(place)
    return command_module.command


def _files(place):
    return sorted(str(path) for path in place.rglob("*"))


def test_a_file_becomes_a_package_with_its_facts_on_the_card(train, place, capfd):
    """Units, domain, and errors on rows that were held out; columns of other kinds are left out, with a line."""
    train(
        source="data.parquet",
        to=place / "build" / "price",
        **NAMED,
        units=["spot=USD,vol=1", "price=USD"],
        reduce="auto",
        steps=40,
    )
    shown = capfd.readouterr()
    assert "data.parquet: 60 rows with 60 values and 111 derivatives; fitting values and derivatives" in shown.err
    assert "columns left out: day" in shown.err
    assert "fitting 48 rows; 12 rows are held out to measure errors on" in shown.err
    assert "12 held-out rows" in shown.out
    assert f"next: gradwire export {place / 'build' / 'price'} --to models/price" in shown.err  # the output's name
    assert "Trainable params" not in shown.out + shown.err
    assert "weights; --verbose shows its layers" in shown.err
    assert "2 of 2 directions carry 100 % of the gradient" in shown.err
    gradwire_export.export(place / "build" / "price", to=place / "models" / "price")
    card = json.loads((place / "models/price/1/assets/card.json").read_text())
    assert [(entry["name"], entry["unit"]) for entry in card["inputs"]] == [("spot", "USD"), ("vol", "1")]
    assert [(entry["name"], entry["unit"]) for entry in card["outputs"]] == [("price", "USD")]
    spot = pd.read_parquet(place / "data.parquet")["spot"]
    domain = card["inputs"][0]["domain"]
    assert spot.min() <= domain["lower"][0] < domain["upper"][0] <= spot.max()
    assert {"price", "dprice_dspot", "dprice_dvol"} <= set(card["errors"])
    assert card["errors"]["against"] == "12 held-out rows"
    assert card["errors"]["price"]["max"] < 0.1
    assert card["trained"]["reduction"] == {"directions": 2, "of": 2, "fraction": 1.0}
    assert not (place / "build/price.checkpoint").exists()


GOOD = "spot,vol,price\n" + "1,0.2,3\n" * 3
BAD = {
    "no such file": (None, NAMED, "cannot read bad.csv: .*No such file"),
    "wrong column": (GOOD, {**NAMED, "inputs": "spott,vol"}, "has no column 'spott', .* did you mean 'spot'"),
    "names not given": (GOOD, {}, "name them: inputs and outputs"),
    "text in a number": (GOOD + "1,x,3\n", NAMED, "column 'vol' holds 'x' in row 3"),
    "infinity": (GOOD + "1,0.2,inf\n", NAMED, "y 'price' holds infinity at row 3"),
    "no rows": ("spot,vol,price\n", NAMED, "has no rows, only the columns spot, vol, price"),
    "all labels missing": ("spot,vol,price\n1,0.2,\n2,0.2,\n", NAMED, "the samples hold no value"),
    "no derivative": (GOOD, {**NAMED, "loss": "sobolev"}, "the samples hold no derivative"),
    "no pin": ("x,f,df_dx\n1,2,3\n", {"loss": "derivative"}, "no row has a value alone"),
    "components of values": (
        "spot,vol,price\n1,0.2,3\n2,0.3,4\n",
        {**NAMED, "reduce": "auto"},
        "reduce needs rows with the derivatives of 'price'",
    ),
    "components of nothing": (GOOD, {**NAMED, "reduce": "auto"}, "'spot', 'vol' do not: leave reduce out"),
    "components of a word": (GOOD, {**NAMED, "reduce": "two"}, "--reduce 'two', expected auto or a number"),
    "a second stage in float32": (GOOD, {**NAMED, "stages": 2}, "--stages 2 needs --dtype float64"),
    "a unit of nothing": (GOOD, {**NAMED, "units": ["strike=USD"]}, "units names 'strike'"),
    "a unit of nothing at all": (GOOD, {**NAMED, "units": ["USD"]}, "expected NAME=VALUE"),
    "column twice": ("spot,vol,price,vol\n1,2,3,4\n", NAMED, "has 2 columns named 'vol'"),
    "a package cannot have the name": ("x_dot,f\n1,2\n", {"inputs": "x_dot", "outputs": "f"}, "ends in _dot"),
    "an option of problems": (
        GOOD,
        {**NAMED, "samples": 5},
        "--samples does not apply to bad.csv, a file",
    ),
    "batches of another optimizer": (
        GOOD,
        {**NAMED, "batch_size": 2, "optimizer": "lbfgs"},
        "--batch-size is for adam",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_gets_a_line_and_leaves_nothing(name, train, place):
    """Misuse is reported before anything is written: no result, no checkpoint, not half of one."""
    content, options, message = BAD[name]
    (place / "bad.csv").unlink(missing_ok=True)
    if content is not None:
        (place / "bad.csv").write_text(content)
    before = _files(place)
    with pytest.raises(GradwireError, match=message) as caught:
        train(source="bad.csv", to=place / "never" / "price", **_as_words(options))
    assert isinstance(caught.value, UsageError)
    assert not (place / "never" / "price").exists()
    assert [path for path in _files(place) if path not in before] in ([], [str(place / "never")])


def _as_words(options):
    kinds = {"loss": Loss, "optimizer": OptimizerName}
    return {name: kinds[name](value) if name in kinds else value for name, value in options.items()}


def test_a_problem_takes_no_columns(train, place):
    """Options that would not be looked at are refused."""
    with pytest.raises(UsageError, match="--inputs does not apply to log, a built-in problem: leave it out"):
        train(source="log", to=place / "never", inputs="x")


def test_one_row_is_fitted(train, place, capfd):
    """Nothing is held out of a handful of rows, and the command says so."""
    (place / "one.csv").write_text("x,f,df_dx\n1,2,3\n")
    train(source="one.csv", to=place / "build" / "one", steps=5)
    assert "fitting all 1 rows: none are held out to measure errors on" in capfd.readouterr().err
    record = json.loads((place / "build/one/fit.json").read_text())
    assert record["errors"]["against"].startswith("the 1 samples that it was fitted to")


def test_a_file_of_directions_and_mini_batches(train, place):
    """Directional derivatives in columns x_dot and f_dot, fitted in batches, are measured on the rows held out."""
    x = np.linspace(1, 2, 40)
    pd.DataFrame({"x": x, "f": np.log(x), "x_dot": 2.0, "f_dot": 2 / x}).to_csv(place / "along.csv", index=False)
    train(source="along.csv", to=place / "build" / "along", steps=30, batch_size=8)
    record = json.loads((place / "build/along/fit.json").read_text())
    assert record["errors"]["f_dot"]["max"] > 0
    assert record["trained"]["samples"]["directional"] == 32
    assert record["trained"]["optimizer"]["batch_size"] == 8


def test_a_directory_is_read_in_parts(train, place, capfd):
    """A directory of Parquet files need not fit into memory."""
    (place / "parts").mkdir()
    frame = pd.read_parquet(place / "data.parquet")
    for number in range(2):
        frame[number::2].to_parquet(place / "parts" / f"{number}.parquet")
    train(source="parts/", to=place / "build" / "parts", **NAMED, steps=5)
    printed = capfd.readouterr().err
    assert "2 row groups are read in turn, not all at once" in printed
    record = json.loads((place / "build/parts/fit.json").read_text())
    assert record["trained"]["samples"]["stream"]["rows"] + record["errors"]["points"] == ROWS
    for path in (place / "parts").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="parts holds no Parquet file"):
        train(source="parts/", to=place / "never", **NAMED)


# The command, with a checkpoint at every chance, and enough steps not to end before it is killed.
SCRIPT = """
import sys
import gradwire_training._progress.checkpoint as checkpoint
from gradwire._cli import main
checkpoint.EVERY_SECONDS = 0.0
sys.argv = ["gradwire", *sys.argv[1:]]
main()
"""


def test_a_killed_command_resumes(train, place, capfd):
    """After kill -9 the same command with --resume gives the weights of one that nobody disturbed."""
    path, steps = place / "build" / "log.checkpoint", 20_000
    words = f"train log --optimizer adam --max-steps {steps} --seed 3 --to build/log".split()
    with (place / "output.txt").open("wb") as output:
        command = subprocess.Popen([sys.executable, "-c", SCRIPT, *words], cwd=place, stdout=output, stderr=output)
    until = time.monotonic() + WAIT_SECONDS
    while not path.exists() and command.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(command.pid, signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL, (place / "output.txt").read_text()
    assert not (place / "build" / "log").exists()
    assert 0 < len(np.load(path)["books:loss"]) < steps
    options = {"optimizer": OptimizerName.ADAM, "seed": 3, "steps": steps}
    with pytest.raises(UsageError, match=r"log.checkpoint is of another fit \(steps: it had 20000, now 300\)"):
        train(source="log", to=place / "build" / "log", **{**options, "steps": 300}, resume=True)
    train(source="log", to=place / "build" / "log", **options, resume=True)
    assert not path.exists()
    train(source="log", to=place / "build" / "new", **options, resume=True)
    assert "no checkpoint at" in capfd.readouterr().err
    one, other = (keras.models.load_model(place / "build" / name / "model.keras") for name in ("log", "new"))
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_rows_choose_the_network(train, place, capfd, monkeypatch):
    """Where none was given; the summary, the record and the card say which and why. What is given is taken."""
    monkeypatch.setattr("gradwire_training.networks._choice.CANDIDATES", (((3,), "tanh"),))
    monkeypatch.setattr("gradwire_training.networks._choice.SMALL", (((5,), "softplus"),))
    train(source="data.parquet", to=place / "build" / "chosen", **NAMED, steps=100)
    printed = " ".join(capfd.readouterr().err.split())
    story = json.loads((place / "build/chosen/fit.json").read_text())["trained"]["story"]
    assert re.match(r"network (3 tanh|5 softplus): .* 48 rows, each held out once, .* of the labels' spread", story)
    assert f"auto selected {story}" in printed
    gradwire_export.export(place / "build" / "chosen", to=place / "models" / "chosen")
    card = json.loads((place / "models/chosen/1/assets/card.json").read_text())
    assert card["trained"]["story"] == story
    train(source="data.parquet", to=place / "build" / "given", **NAMED, steps=100, network="4")
    record = json.loads((place / "build/given/fit.json").read_text())["trained"]
    assert record["network"]["chosen"] is None
    assert "network" not in record["story"]


def test_the_page_on_data_runs(tmp_path, monkeypatch, train, capfd):
    """Every block of docs/data.md, in order; what it says the command prints is what it prints."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    printed = ""
    for language, block in FENCE.findall((ROOT / "docs" / "data.md").read_text()):
        match language:
            case "python":
                exec(block, scope)
            case "bash":
                arguments = shlex.split(block)
                assert arguments[:2] == ["gradwire", "train"]
                app = typer.Typer()
                app.command()(train)
                app(arguments[2:], standalone_mode=False)
                printed = capfd.readouterr().err
            case _:
                assert all(line in printed for line in block.splitlines())
    assert (tmp_path / "build" / "price" / "fit.json").exists()
