"""The one reader of tables: every format gives the same rows to a fit, a batch job and a query, or one refusal."""

from __future__ import annotations

import io
import json
import math
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gradwire import DataError, GradwireError, InputNameError, MissingExtra, TensorSpec, UsageError
from gradwire._cli.io import read_blocks
from gradwire._tables import open_table
from gradwire.batch import open_source
from gradwire_training import Samples

ROWS = 40
GENERATOR = np.random.default_rng(11)
X, T = GENERATOR.normal(size=(ROWS, 2)), GENERATOR.normal(size=ROWS)
F = np.where(np.arange(ROWS) == 3, np.nan, X[:, 0] * T)
SPECS = {"x": TensorSpec("x", "float64", (None, 2)), "t": TensorSpec("t", "float64", (None, 1))}
FLAT = {"x[0]": X[:, 0], "x[1]": X[:, 1], "t": T, "f": F}
LISTS = {"x": X.tolist(), "t": T.tolist(), "f": [None if math.isnan(value) else value for value in F]}


def _objects():
    return [dict(zip(LISTS, row, strict=True)) for row in zip(*LISTS.values(), strict=True)]


def _text(separator=",", decimal=".", quote='"', names=tuple(FLAT)):
    cells = [
        ["" if math.isnan(v) else repr(float(v)).replace(".", decimal) for v in row]
        for row in zip(*FLAT.values(), strict=True)
    ]
    return "\n".join([separator.join(f"{quote}{name}{quote}" for name in names), *map(separator.join, cells)]) + "\n"


WRITERS = {
    "lists.parquet": lambda path: pq.write_table(pa.table(LISTS), path, row_group_size=7),
    "fixed.parquet": lambda path: pq.write_table(
        pa.table({**LISTS, "x": pa.array(LISTS["x"], pa.list_(pa.float64(), 2))}), path
    ),
    "flat.parquet": lambda path: pq.write_table(pa.table(FLAT, schema=None), path),
    "lists.feather": lambda path: pyarrow.feather.write_feather(pa.table(LISTS), path),
    "old.feather": lambda path: pyarrow.feather.write_feather(pd.DataFrame(FLAT), path, version=1),
    "flat.arrow": lambda path: pyarrow.feather.write_feather(pa.table(FLAT), path),
    "quoted.csv": lambda path: path.write_text(_text()),
    "bare.csv": lambda path: path.write_text(_text(quote="")),
    "mark.csv": lambda path: path.write_text(_text(quote=""), encoding="utf-8-sig"),
    "quoted mark.csv": lambda path: path.write_text(_text(), encoding="utf-8-sig"),
    "tabs.tsv": lambda path: path.write_text(_text("\t", quote="")),
    "semicolons.csv": lambda path: path.write_text(_text(";", quote="")),
    "crlf.csv": lambda path: path.write_bytes(_text().replace("\n", "\r\n").encode()),
    "lines.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, _objects()))),
    "mark.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, _objects())), encoding="utf-8-sig"),
    "objects.json": lambda path: path.write_text(json.dumps(_objects(), indent=1)),
    "columns.json": lambda path: path.write_text(json.dumps(LISTS)),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, _objects()))),
    "arrays.npz": lambda path: np.savez(path, x=X, t=T, f=F),
}


def _query(path, **options):
    """What `gradwire query` reads, in blocks of six rows."""
    blocks = list(read_blocks(f"@{path}", SPECS, list(SPECS), 6, **options))
    return {name: np.concatenate([block[name] for block in blocks]) for name in SPECS}


def _batch(path, **options):
    """What `gradwire batch` reads, in blocks of six rows."""
    source = open_source(path, block_rows=6, **options)
    parts, first = [], 0
    for block in source.blocks():
        parts.append({name: source.read(block, spec, first) for name, spec in SPECS.items()})
        first += block.num_rows
    assert source.rows == first == ROWS
    return {name: np.concatenate([part[name] for part in parts]) for name in SPECS}


def _train(path, **options):
    """What `gradwire train` reads."""
    return Samples.read(path, inputs=["x", "t"], outputs=["f"], **options)


@pytest.mark.filterwarnings("ignore:Feather V1:DeprecationWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows_to_every_command(name, tmp_path):
    """Bit by bit, in order; a label that is missing is NaN in a fit."""
    WRITERS[name](tmp_path / name)
    for read in (_query, _batch):
        rows = read(tmp_path / name)
        np.testing.assert_array_equal(rows["x"], X)
        np.testing.assert_array_equal(rows["t"], T[:, None])
    samples = _train(tmp_path / name)
    np.testing.assert_array_equal(samples.x["x"], X)
    np.testing.assert_array_equal(samples.x["t"], T[:, None])
    np.testing.assert_array_equal(samples.y["f"], F[:, None])


def test_decimal_commas_are_read_on_demand_and_named_without(tmp_path):
    """`--decimal ,`: in every command; without it the message says so, and a point is never a thousands' one."""
    path = tmp_path / "euro.csv"
    path.write_text(_text(";", ",", quote=""), encoding="utf-8-sig")
    np.testing.assert_array_equal(_train(path, decimal=",").x["x"], X)
    np.testing.assert_array_equal(_batch(path, decimal=",")["x"], X)
    np.testing.assert_array_equal(_query(path, decimal=",")["x"], X)
    for read in (_train, _batch, _query):
        with pytest.raises(DataError, match="for decimal commas give --decimal ,"):
            read(path)
        with pytest.raises(UsageError, match=r"--decimal '\.,', expected '\.' or ','"):
            read(path, decimal=".,")
    path.write_text(_text(";", ",", quote="").replace("\n", "\n1.500;1;1;1\n", 1))
    for read in (_train, _batch, _query):
        with pytest.raises(DataError, match=r"'1\.500'"):
            read(path, decimal=",")
    path.write_text(_text(",", quote=""))
    for read in (_train, _batch, _query):
        with pytest.raises(DataError, match="cannot have a decimal comma"):
            read(path, decimal=",")


def test_names_may_hold_the_separator_of_other_tables(tmp_path):
    """`;` between columns, commas inside their names, quoted or not, and quoted commas between commas."""
    path = tmp_path / "semi.csv"
    for text in ("a[0,0];a[0,1];b (m, s)\n1;2;3\n4;5;6\n", 'a[0,0];"a[0,1]";"b (m, s)"\n1;2;3\n4;5;6\n'):
        path.write_text(text)
        assert open_table(path).names == ("a[0,0]", "a[0,1]", "b (m, s)")
    path.write_text('"a[0,0]","a;1","b (m, s)"\n1,2,3\n4,5,6\n')
    table = open_table(path)
    assert table.names == ("a[0,0]", "a;1", "b (m, s)")
    assert table.read("b (m, s)").tolist() == [3.0, 6.0]


@pytest.mark.parametrize("text", ['x;y\n"a;\nb";1\n' + "2;3\n" * 60, "x;y\n1,5;2\n", "x;y (a, b)\n1;2\n3;4\n"])
def test_the_separator_is_the_one_that_fits_the_rows(text, tmp_path):
    """Not one that stands in a name, in a number or in a quoted cell of several lines; a single column has none."""
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert len(open_table(path).names) == 2
    path.write_text("x\n0,5\n1,5\n")
    assert open_table(path, decimal=",").read("x").tolist() == [0.5, 1.5]
    path.write_text("x,f\n1,NAN\n2,nan\n3,NaN\n4,NA\n")
    assert np.isnan(open_table(path).read("f")).all()


def test_values_between_a_pipe_and_a_file_are_the_same(tmp_path, monkeypatch):
    """Standard input takes the same separators, marks and commas."""
    for text, options in (
        (_text(";", quote=""), {}),
        (_text(";", ",", quote=""), {"decimal": ","}),
        ("\ufeff" + _text(), {}),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        blocks = list(read_blocks("-", SPECS, list(SPECS), 6, **options))
        np.testing.assert_array_equal(np.concatenate([block["x"] for block in blocks]), X)


def test_text_is_read_without_pyarrow(tmp_path, monkeypatch):
    """The light client reads CSV and JSON lines; for other formats it names the extra."""
    for name in ("quoted.csv", "semicolons.csv", "lines.jsonl", "lists.parquet"):
        WRITERS[name](tmp_path / name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("quoted.csv", "semicolons.csv", "lines.jsonl"):
        np.testing.assert_array_equal(_query(tmp_path / name)["x"], X)
    with pytest.raises(MissingExtra, match=r"this needs pyarrow: pip install 'gradwire\[batch\]'"):
        _query(tmp_path / "lists.parquet")


BAD = {  # name -> (file, its content, what each message must say)
    "duplicate columns": ("a.csv", "x[0],x[1],t,f,t\n1,2,3,4,5\n", "2 columns named 't'"),
    "duplicate after blanks": ("a.csv", "x[0],x[1],t,f, t\n1,2,3,4,5\n", "2 columns named 't'"),
    "duplicates in Parquet": (
        "a.parquet",
        pa.table([X.tolist(), T, T, F], names=["x", "t", "t", "f"]),
        "2 columns named 't'",
    ),
    "duplicates in Arrow": (
        "a.feather",
        pa.table([X.tolist(), T, T, F], names=["x", "t", "t", "f"]),
        "2 columns named 't'",
    ),
    "duplicate keys": ("a.jsonl", '{"x": [1, 2], "t": 1, "t": 2, "f": 1}\n', "two entries named 't'"),
    "true": ("a.jsonl", '{"x": [1, 2], "t": true, "f": 1}\n', "(?i)true"),
    "true among numbers": ("a.jsonl", '{"x": [1, 2], "t": 1, "f": 1}\n{"x": [1, 2], "t": true, "f": 1}\n', "(?i)true"),
    "true in a list": ("a.jsonl", '{"x": [1, true], "t": 1, "f": 1}\n', "(?i)true|bool"),
    "true in a list of objects": ("a.json", '[{"x": [1, true], "t": 1, "f": 1}]\n', "(?i)true|bool"),
    "True in CSV": ("a.csv", "x[0],x[1],t,f\n1,2,True,4\n", "'True'"),
    "truth values in Parquet": ("a.parquet", {"x": [[1.0, 2.0]], "t": [True], "f": [1.0]}, "bool"),
    "truth values in NPZ": ("a.npz", {"x": X, "t": T > 0, "f": F}, "bool"),
    "text": ("a.csv", "x[0],x[1],t,f\n1,2,3,4\n1,2,high,4\n", "'high'"),
    "digits apart": ("a.csv", "x[0],x[1],t,f\n1,2,1_000,4\n", "'1_000'"),
    "no rows": ("a.csv", "x[0],x[1],t,f\n", "no rows"),
    "no rows in Parquet": (
        "a.parquet",
        {
            "x": pa.array([], pa.list_(pa.float64(), 2)),
            "t": pa.array([], pa.float64()),
            "f": pa.array([], pa.float64()),
        },
        "no rows",
    ),
    "no rows in JSON": ("a.json", "[]", "no rows"),
    "an empty file": ("a.csv", "", "empty"),
    "an empty Parquet": ("a.parquet", b"", "empty"),
    "not Parquet": ("a.parquet", b"PAR1 and nothing more", "cannot read"),
    "not Arrow": ("a.feather", b"nothing", "cannot read"),
    "not an archive": ("a.npz", b"PK\x03\x04 broken", "not a NumPy archive"),
    "not JSON": ("a.json", '[{"x": 1}, ', "not JSON"),
    "not UTF-8": ("a.csv", "größe,t,f\n1,2,3\n".encode("latin-1"), "not UTF-8"),
    "a short row": ("a.csv", "x[0],x[1],t,f\n1,2,3,4\n1,2,3\n", r"(?i)expected 4"),
    "x beside x[0]": ("a.parquet", {"x": [[1.0, 2.0]], "x[0]": [1.0], "t": [1.0], "f": [1.0]}, "do not fit together"),
    "an element is missing": ("a.csv", "x[1],t,f\n1,2,3\n", r"x\[0\]"),
    "an array of one value": ("a.npz", {"x": X, "t": np.float64(1.0), "f": F}, "'t'"),
    "pickled objects": ("a.npz", {"x": X, "t": np.array([None] * ROWS), "f": F}, "(?i)pickle|object"),
}


def _write(path, content):
    match content:
        case str():
            path.write_text(content)
        case bytes():
            path.write_bytes(content)
        case dict() if path.suffix == ".npz":
            np.savez(path, **content)
        case dict():
            pq.write_table(pa.table(content), path)
        case _ if path.suffix == ".feather":
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
                writer.write_table(content)
        case _:
            pq.write_table(content, path)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", [_train, _batch, _query])
def test_what_cannot_be_read_is_refused_in_a_line_by_every_command(read, name, tmp_path):
    """Nothing is taken for a number that hardly is meant as one; the message is one line."""
    file, content, message = BAD[name]
    _write(tmp_path / file, content)
    with pytest.raises(GradwireError, match=message) as caught:
        read(tmp_path / file)
    assert isinstance(caught.value, (DataError, InputNameError))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [_batch, _query])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.csv", "x[0],x[1],t\n1,2,3\n1,,3\n"),
        ("a.csv", "x[0],x[1],t\n1,2,3\n1,NA,3\n"),
        ("a.jsonl", '{"x": [1, 2], "t": 3}\n{"x": [1, null], "t": 3}\n'),
        ("a.json", '[{"x": [1, 2], "t": 3}, {"x": null, "t": 3}]'),
    ],
)
def test_an_input_that_is_missing_is_refused(read, file, text, tmp_path):
    """Null and an empty cell are no number for a model; NaN is one."""
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=r"null|None|not a number"):
        read(tmp_path / file)


@pytest.mark.parametrize("cells", ["nan,inf", "NaN,-inf"])
def test_what_is_not_finite_is_read(cells, tmp_path):
    """By query, as it always was, and by batch."""
    (tmp_path / "a.csv").write_text(f"x[0],x[1],t\n{cells},+3\n")
    (block,) = read_blocks(f"@{tmp_path / 'a.csv'}", SPECS, ["x", "t"], 6)
    source = open_source(tmp_path / "a.csv")
    (batch,) = source.blocks()
    for array in (block["x"], source.read(batch, SPECS["x"], 0)):
        np.testing.assert_array_equal(array, [[float(cell) for cell in cells.split(",")]])
    assert source.read(batch, SPECS["t"], 0).tolist() == block["t"].tolist() == [[3.0]]


def test_integers_keep_their_digits_and_text_may_hold_them(tmp_path):
    """Above 2^53 a float64 would round them; whole numbers of CSV are fine for an input of integers, others not."""
    spec, large = {"n": TensorSpec("n", "int64", (None, 1))}, 2**53 + 1
    pq.write_table(pa.table({"n": [large]}), tmp_path / "n.parquet")
    (tmp_path / "n.csv").write_text(f"n\n{large}\n")
    for name in ("n.parquet", "n.csv"):
        source = open_source(tmp_path / name)
        (block,) = source.blocks()
        assert source.read(block, spec["n"], 0).tolist() == [[large]]
    (tmp_path / "n.csv").write_text("n\n1\n2.5\n")
    source = open_source(tmp_path / "n.csv")
    with pytest.raises(DataError, match=r"column 'n' holds 2\.5 in row 1: give integers"):
        source.read(next(source.blocks()), spec["n"], 0)


XYZ = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="F F F"
Ar 0.0 0.0 0.0 {force} 0.0 0.0
{second} {x} 0.0 0.0 -{force} 0.0 0.0
"""


def test_frames_of_extended_xyz_are_rows(tmp_path):
    """Positions and forces are (atoms, 3); frames of other atoms are refused."""
    pytest.importorskip("ase", reason="the client alone reads no extended XYZ")
    path = tmp_path / "frames.xyz"
    frames = [(4.0, -0.01, 0.25), (4.5, -0.005, 0.125), (5.0, -0.0025, 0.0625)]
    text = "".join(XYZ.format(x=x, energy=energy, force=force, second="Ar") for x, energy, force in frames)
    path.write_text(text)
    table = open_table(path)
    assert {"positions", "energy", "forces"} == set(table.names)
    assert (table.rows, table.read("positions").shape) == (3, (3, 2, 3))
    assert table.read("positions")[:, 1, 0].tolist() == [4.0, 4.5, 5.0]
    assert table.read("energy").tolist() == [-0.01, -0.005, -0.0025]
    assert table.read("forces")[:, 1, 0].tolist() == [-0.25, -0.125, -0.0625]
    forces = {"forces": ("-energy", "positions")}
    samples = Samples.read(path, inputs=["positions"], outputs=["energy"], derivatives=forces)
    assert samples.x["positions"].shape == (3, 2, 3)
    assert samples.dydx["energy"]["positions"][:, 0, 0].tolist() == [-0.25, -0.125, -0.0625]
    path.write_text(text + XYZ.format(x=4.0, energy=0.0, force=0.0, second="He"))
    with pytest.raises(DataError, match=r"frame 3 has 2 atoms \(Ar He\), frame 0 has 2 atoms \(Ar Ar\)"):
        open_table(path)
    path.write_text("2\nbroken\nAr 0 0\n")
    with pytest.raises(DataError, match=r"cannot read .*frames\.xyz"):
        open_table(path)
