"""What a user gets wrong, and the line that he gets for it: never a traceback, nothing half-written."""

import socket

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow  # trains, exports and serves first

# name: (arguments, exit code, what the line must say). {address} and {free} are filled in.
TABLE = {
    "train: no such problem": ("train sinus --to build/s", 2, "log"),
    "train: no samples": ("train log --samples 0 --to build/s", 2, "samples"),
    "train: no such loss": ("train log --loss cubic --to build/s", 2, "sobolev"),
    "train: target is not a result": ("train log --max-steps 1 --to models", 1, "models"),
    "export: not a training result": ("export models --to models/new", 1, "is not a training result"),
    "export: bad domain": ("export build/log --to models/new --domain x=2:1", 2, "NAME=LOWER:UPPER"),
    "export: unwritable": ("export build/log --to points.txt/new", 1, "cannot write to"),
    "serve: no such directory": ("serve nowhere --engine embedded", 2, "nowhere"),
    "serve: no models below": ("serve build/log --engine embedded", 2, "build/log"),
    "serve: port in use": ("serve models --engine embedded --port {taken}", 2, "port is in use"),
    "serve: no GPU here": (
        "serve models --engine embedded --gpu",
        2,
        "tensorflow_model_server",
    ),
    "serve: engine not installed": (
        "serve models --engine tensorflow_model_server",
        2,
        "tensorflow_model_server",
    ),
    "query: nobody there": ("query localhost:{free} log --input x=1", 3, "gradwire serve"),
    "query: no port": ("query localhost log --input x=1", 2, "localhost"),
    "query: no such model": ("query {address} exp --input x=1", 3, "exp"),
    "query: no name": ("query {address} --input x=1", 2, "name the model"),
    "query: wrong input": (
        "query {address} log --input y=1",
        2,
        "sent extra: {y}; missing but required: {}; the signature 'serving_default' takes ['x']",
    ),
    "query: no input": ("query {address} log", 2, "no points: give --input for ['x']"),
    "query: text for a number": ("query {address} log --input x=one", 2, "'one' is not a number"),
    "query: two numbers for one": ("query {address} log --input x=1,2", 2, "has 2 numbers, expected 1"),
    "query: empty": ("query {address} log --input x=;", 2, "has no points"),
    "query: no such file": ("query {address} log --input x=@nowhere.csv", 2, "cannot read nowhere.csv"),
    "query: no such column": (
        "query {address} log --input x=@other.csv",
        2,
        "other.csv has the columns {y}; missing but required: {x}",
    ),
    "query: directory with a name": ("query models/log log --input x=1", 2, "leave it out"),
    "card: not a package": ("card build", 1, "build"),
    "card: corrupt package": ("card corrupt", 1, "corrupt"),
    "verify: bad domain": ("verify models/log --domain x=1", 2, "NAME=LOWER:UPPER"),
    "batch: no model": ("batch points.parquet out.parquet", 2, "--model models/log"),
    "batch: no such file": ("batch nowhere.parquet out.parquet --model models/log", 2, "nowhere.parquet"),
    "batch: not Parquet": ("batch points.txt out.parquet --model models/log", 2, "as Parquet"),
    "batch: missing column": (
        "batch other.parquet out.parquet --model models/log",
        2,
        "missing columns ['x']",
    ),
    "batch: text column": ("batch text.parquet out.parquet --model models/log", 2, "holds 'one' in row 0"),
    "batch: null": ("batch null.parquet out.parquet --model models/log", 2, "null in row 1"),
    "batch: column taken": ("batch taken.parquet out.parquet --model models/log", 2, "['f'] already"),
    "batch: truth values": ("batch true.jsonl out.parquet --model models/log", 2, "holds 'true' in row 1"),
    "batch: columns twice": ("batch twice.csv out.parquet --model models/log", 2, "2 columns named 'x'"),
    "batch: decimal commas": ("batch euro.csv out.parquet --model models/log", 2, "give --decimal ,"),
    "batch: not UTF-8": ("batch latin.csv out.parquet --model models/log", 2, "not UTF-8 text"),
    "batch: damaged": ("batch damaged.npz out.parquet --model models/log", 2, "not a NumPy archive"),
    "batch: a directory of other things": (
        "batch models out.parquet --model models/log",
        2,
        "files of no known format",
    ),
    "batch: exists": ("batch points.parquet text.parquet --model models/log", 1, "--overwrite"),
    "no such command": ("trian log", 2, "trian"),
    "no such option": ("train log --bogus", 2, "bogus"),
}


@pytest.fixture(scope="module")
def place(workplace):
    """The workplace, with files that are wrong in one way each."""
    tables = {
        "points": {"x": [0.5, 1.0]},
        "other": {"y": [1.0]},
        "text": {"x": ["one"]},
        "null": {"x": [1.0, None]},
        "taken": {"x": [1.0], "f": [2.0]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), workplace / f"{name}.parquet")
    (workplace / "points.txt").write_text("0.5\n")
    (workplace / "other.csv").write_text("y\n1.0\n")
    (workplace / "true.jsonl").write_text('{"x": 1.0}\n{"x": true}\n')
    (workplace / "twice.csv").write_text("x,x\n1,2\n")
    (workplace / "euro.csv").write_text("x;id\n0,5;1\n")
    (workplace / "latin.csv").write_bytes("x,größe\n1,2\n".encode("latin-1"))
    (workplace / "damaged.npz").write_bytes(b"PK\x03\x04 no archive")
    (workplace / "corrupt" / "1").mkdir(parents=True)
    (workplace / "corrupt" / "1" / "saved_model.pb").write_bytes(b"\xff" * 100)
    return workplace


@pytest.fixture(scope="module")
def ports():
    """A port that is taken and one that is free."""
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        numbers = {"taken": taken.getsockname()[1], "free": free.getsockname()[1]}
        free.close()
        yield numbers


@pytest.mark.parametrize("name", TABLE)
def test_a_mistake_gets_one_clear_line(name, place, address, ports, gradwire_here):
    """The exit code is 2 for misuse and 1 for a fault, the message names the thing, and no file is left."""
    arguments, code, message = TABLE[name]
    words = arguments.format(address=address, **ports).split(" ")
    before = sorted(str(path) for path in place.rglob("*"))
    done = gradwire_here(*words, cwd=place, expect=code)
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(str(path) for path in place.rglob("*")) == before


def test_debug_shows_the_traceback(place, gradwire):
    """--debug, at any place, shows where an error came from."""
    done = gradwire("card", "build", "--debug", cwd=place, expect=1)
    assert "Traceback" in done.stderr


def test_not_a_number_and_infinity_travel(place, address):
    """NaN and infinities are points like others: they go and come as they are."""
    import gradwire as client

    with client.connect(address, "log") as log:
        f, df_dx = log.value_and_grad([np.nan, np.inf, -np.inf])
    assert np.isnan(f[0])
    assert np.isnan(df_dx[0])
    assert np.isfinite(f[1:]).all()  # a sigmoid network saturates
