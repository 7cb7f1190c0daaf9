"""Sources and results of batch jobs: files, directories and URLs of every format, and rows that cannot be read."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradwire import DataError, Model, UsageError
from gradwire._tables import open_table
from gradwire.batch import BatchOptions, Source, _job, apply, iterate, run
from gradwire.batch._formats import csv, lines, tfrecord
from gradwire.batch._job import rows_of
from gradwire.testing import FakeModel

V = np.arange(15, dtype=np.float32).reshape(5, 3) / 4
T = np.array([0.5, -1.0, 2.0, 0.0, 3.0])
FORMS = ["parquet", "csv", "arrow", "npz", "npy", "tfrecord"]


@pytest.fixture
def model() -> Model:
    """F = t * sum v^2 in float32, with inputs of three and of one."""
    return FakeModel(
        lambda v, t: t * np.sum(v**2, axis=-1),
        lambda v, t: {"f": {"v": 2 * t[:, None] * v, "t": np.sum(v**2, axis=-1)}},
        inputs={"v": 3, "t": 1},
        dtype="float32",
        domain={"v": (0, 3), "t": (-1, 2)},
    ).connect()


@pytest.fixture
def table():
    """Five rows: a vector, a number and a text."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(V.reshape(-1)), 3)
    return pa.table({"id": ["a", "b", "c", "d,", "é"], "v": lists, "t": T})


def _arrays(path, *names):
    """The columns of a file, by the reader of jobs."""
    source = Source(path)
    (file,) = source.files
    whole = pa.Table.from_batches(
        list(rows_of(file, source.schema, 0, source.cuts[file][-1], BatchOptions(), source.places[file].get(0)))
    )

    def array(name):
        elements = [each for each in whole.column_names if each.startswith(f"{name}[")]
        if elements:
            return np.stack([whole[each].to_numpy() for each in elements], axis=1)
        return np.array(whole[name].to_pylist())

    return [array(name) for name in names]


@pytest.mark.parametrize("place", ["{}/", "memory://formats/"])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_goes_out_and_in_again_with_the_same_numbers(model, table, tmp_path, form, place):
    """Results in every format, which is the source of the next job: as one file and in a directory, here and away."""
    place = place.format(tmp_path)
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    run(tmp_path / "in.parquet", f"{place}once.{form}", model=model, restart=True)
    run(tmp_path / "in.parquet", f"{place}{form}s/", model=model, form=form, restart=True)
    expected = (2 * T[:, None] * V).astype(np.float32), T * (V**2).sum(axis=1)
    assert [file.suffix for file in Source(f"{place}{form}s").files] == [f".{form}"]
    for source in (f"{place}once.{form}", f"{place}{form}s/part-*"):
        v, t, names, df_dv, f = _arrays(source, "v", "t", "id", "df_dv", "f")
        np.testing.assert_array_equal(v, V)
        np.testing.assert_array_equal(t, T)
        np.testing.assert_array_equal(df_dv, expected[0])
        np.testing.assert_allclose(f, expected[1], rtol=1e-6)
        assert names.tolist() == table["id"].to_pylist()
    renamed = f"{tmp_path}/again-{form}.parquet"
    for source in (f"{place}once.{form}", f"{place}{form}s/"):
        with pytest.raises(DataError, match=r"\['f', 'df_dv'.*already"):
            run(source, renamed, model=model)


def _put(path, data):
    Path(path).write_bytes(data)


SOURCES = {
    "a directory": ("in/", ["a.csv", "b/c.parquet"], [0.25, 1, 2]),
    "a directory without its slash": ("in", ["a.csv", "b/c.parquet"], [0.25, 1, 2]),
    "a glob": ("in/*.csv", ["a.csv"], [0.25]),
    "a glob through directories": ("in/**/*.parquet", ["b/c.parquet"], [1, 2]),
    "several": (["in/b", "in/a.csv"], ["c.parquet", "a.csv"], [1, 2, 0.25]),
}


@pytest.mark.parametrize("scheme", ["", "memory://"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_files_in_an_order(tmp_path, scheme, name):
    """What is hidden is left out, as pyarrow's datasets do; columns need not have the same order."""
    place = f"{scheme}{tmp_path}"
    if scheme:
        import fsspec

        fsspec.filesystem("memory").makedirs(f"{tmp_path}/in/b")
        put = fsspec.filesystem("memory").pipe_file
    else:
        (tmp_path / "in" / "b").mkdir(parents=True)
        put = _put
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"y": [1.5, 2.5], "x": [1, 2]}), buffer)
    put(f"{tmp_path}/in/b/c.parquet", buffer.getvalue().to_pybytes())
    put(f"{tmp_path}/in/a.csv", b"x,y\n0.25,3\n")
    put(f"{tmp_path}/in/_manifest.json", b"{}")
    put(f"{tmp_path}/in/b/.hidden", b"")
    what, names, x = SOURCES[name]
    what = [f"{place}/{each}" for each in what] if isinstance(what, list) else f"{place}/{what}"
    source = Source(what)
    assert [file.name for file in source.files] == names
    double = FakeModel(lambda x: 2 * x).connect()
    blocks = [batch.to_pydict() for batch in iterate(what, model=double, compute="value")]
    found = [row for block in blocks for row in zip(block["x"], block["y"], block["f"], strict=True)]
    assert found == [(each, {0.25: 3.0, 1: 1.5, 2: 2.5}[each], 2 * each) for each in x]


TEXTS = {
    "numbers": ("csv", b"k,x\n1,0.5\n2,1\n3,\n4,1e3\n"),
    "numbers of another kind further down": ("csv", b"k,x\n1,1\n2,2\n3,\n4,2.5\n9007199254740993,1\n"),
    "a word further down": ("csv", b"k,x\n1,01\n2,true\n3,+4\n4, 5 \n5,word\n6,2020-01-01\n"),
    "blanks and signs": ("csv", b"k,x\n1,1\n2, 2 \n3,+3.5\n4,NA\n"),
    "a mark, ends of lines of Windows, blank lines": ("csv", b"\xef\xbb\xbf k ,x\r\n1,0.5\r\n\r\n2,1\r\n3,2"),
    "ends of lines of old": ("csv", b"k,x\r1,0.5\r2,1\r3,2\r"),
    "quotes": ("csv", b'"k","x"\n"a, ""b""",0.5\n"two\nlines\n",1\n5" pipe,2\n"\xc3\xa9\r\n",3\n'),
    "a decimal comma": ("csv", b"k;x\n1;0,5\n2; 1,5 \n3;2\n"),
    "points and a decimal comma": ("csv", b"k;x\n1;0,5\n2;1.000\n3;2\n"),
    "tabs": ("tsv", b"k\tx\na\t0.5\nb,c\t1\n"),
    "truth values": ("csv", b"k,x\ntrue,1\nfalse,0\n"),
    "nothing but missing": ("csv", b"k,x\n1,\n2,\n"),
    "JSON lines": ("jsonl", b'{"k": 1, "x": 1}\n\n{"x": 0.5, "k": 2}\r\n{"k": 3, "x": null}\n{"k": 4}'),
    "names further down": ("ndjson", b'\xef\xbb\xbf{"x": 1}\n{"x": 2, "v": [1, 2]}\n{"v": [0.5, 1], "x": "NaN"}\n'),
    "mixed kinds": ("jsonl", b'{"x": 1, "t": "a"}\n{"x": "one", "t": 2}\n{"x": true, "t": [1]}\n{"x": null}\n'),
}


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("name", TEXTS)
def test_text_is_read_in_parts_as_it_is_whole(tmp_path, monkeypatch, name, size):
    """Whatever the parts: names, types and cells of units of a row or two are those of the whole file."""
    suffix, data = TEXTS[name]
    monkeypatch.setattr(_job, "UNIT_ROWS", 1)
    monkeypatch.setattr(csv, "PART", size)
    monkeypatch.setattr(lines, "BLOCK", size)
    path = tmp_path / f"in.{suffix}"
    path.write_bytes(data)
    options = BatchOptions(decimal="," if "decimal comma" in name else ".", block_rows=2)
    expected = open_table(path, decimal=options.decimal).whole()
    source = Source(path, options.decimal)
    (file,) = source.files
    cuts = source.cuts[file]
    assert len(cuts) == (expected.num_rows + 1 if size == 1 else 2 if size > 5 else len(cuts))
    blocks = [
        list(rows_of(file, source.schema, start, stop, options, source.places[file][start]))
        for start, stop in itertools.pairwise(cuts)
    ]
    found = pa.Table.from_batches([block for unit in blocks for block in unit])
    assert found.schema == expected.schema
    assert repr(found.to_pydict()) == repr(expected.to_pydict())  # NaN is not NaN
    assert all(block.num_rows == 2 for unit in blocks for block in unit[:-1])


def test_a_large_file_of_text_is_never_held_whole(tmp_path, monkeypatch):
    """Neither in search of types, nor of rows: what Arrow holds at most is a few parts of a file of 40."""
    monkeypatch.setattr(csv, "PART", 1 << 16)
    monkeypatch.setattr(csv, "BLOCK", 1 << 16)
    path = tmp_path / "in.csv"
    x = np.random.default_rng(0).uniform(0.5, 2, 140_000)
    pd.DataFrame({"x": x}).to_csv(path, index=False)
    assert path.stat().st_size > 40 << 16
    pool = pa.system_memory_pool()
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        base = pool.max_memory()
        source = Source(path)
        (file,) = source.files
        options = BatchOptions(block_rows=4096)
        blocks = rows_of(file, source.schema, 0, len(x), options, source.places[file][0])
        rows = [block.num_rows for block in blocks]
    finally:
        pa.set_memory_pool(before)
    assert (sum(rows), max(rows)) == (len(x), 4096)
    assert pool.max_memory() - base < 12 << 16


UNWRITTEN = {
    "lists in CSV": ("csv", [[1.0], [1.0, 2.0]], r"column 'k' holds list<.*>, which CSV cannot hold: write Parquet"),
    "lists in NPZ": ("npz", [[1.0], [1.0, 2.0]], r"holds list<.*>, which NPZ cannot hold: write Parquet"),
    "times in NPY": ("npy", pa.array([1, 2], pa.timestamp("s")), "which NPY cannot hold: write Parquet"),
    "missing integers": ("npz", [1, None], "has a null in row 1, which NPZ can hold for floats alone"),
    "times in TFRecord": ("tfrecord", pa.array([1, 2], pa.timestamp("s")), "which tf.train.Example cannot hold"),
    "doubles in TFRecord": ("tfrecord", [1.0, 1e300], "'k' cannot be written as tf.train.Example: .*infinite"),
}


@pytest.mark.parametrize("name", UNWRITTEN)
@pytest.mark.parametrize("target", ["out", "out/"])
def test_a_column_that_a_format_cannot_hold_is_named(tmp_path, name, target):
    """And nothing is left."""
    form, column, message = UNWRITTEN[name]
    pq.write_table(pa.table({"x": [1.0, 2.0], "k": column}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=message):
        run(
            tmp_path / "in.parquet",
            f"{tmp_path}/{target}",
            model=FakeModel(np.log).connect(),
            compute="value",
            form=form,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def _record(data, checksum=True):
    length = tfrecord.LENGTH.pack(len(data), tfrecord._checksum(len(data).to_bytes(8, "little")))
    return length + data + tfrecord.CHECKSUM.pack(tfrecord._checksum(data) if checksum else 0)


def _example(**features):
    example = tfrecord._EXAMPLE()
    for name, (kind, values) in features.items():
        feature = example.features.feature[name]
        if kind is not None:
            getattr(feature, kind).value.extend(values)
    return _record(example.SerializeToString())


ONE = _example(x=("float_list", [1.0]))
UNREAD = {
    "no example": (ONE + _record(b"none"), "record 1 is no tf.train.Example"),
    "another feature": (
        ONE + _example(x=("float_list", [1.0]), k=("int64_list", [1])),
        "'k', which the first record has",
    ),
    "another kind": (
        ONE + _example(x=("int64_list", [1])),
        "'x' of record 1 is a int64_list of 1.*of one kind and length",
    ),
    "another length": (ONE + _example(x=("float_list", [1.0, 2.0])), "of one kind and length"),
    "an end": (ONE + ONE[:-3], "record 1 is cut off"),
    "an end in a length": (ONE + ONE[:5], "record 1 is cut off"),
    "a checksum": (ONE + _record(b"", checksum=False), "record 1 is damaged, its checksum is another"),
    "an empty feature": (_example(x=(None, [])), "the feature 'x' of the first record is empty"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_record_that_is_damaged_or_another_is_named(tmp_path, name):
    """By its number, and nothing is left."""
    data, message = UNREAD[name]
    (tmp_path / "in.tfrecord").write_bytes(data)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "in.tfrecord", tmp_path / "out.parquet", model=FakeModel(np.log).connect(), compute="value")
    assert [path.name for path in tmp_path.iterdir()] == ["in.tfrecord"]


UNCLOSED = b'k,x\n"a,1\n' + b"b,2\n" * 400


def test_a_quote_that_is_not_closed_is_told(tmp_path, monkeypatch):
    """Before the whole file is in memory."""
    monkeypatch.setattr(csv, "PART", 64)
    monkeypatch.setattr(csv, "MOST", 512)
    (tmp_path / "in.csv").write_bytes(UNCLOSED)
    with pytest.raises(DataError, match="more than 512 bytes: is a quote not closed"):
        Source(tmp_path / "in.csv")


REFUSED_SOURCES = {
    "nothing there": ("nowhere.parquet", "there is no such file"),
    "nothing in it": ("empty/", "no files of rows"),
    "no match": ("*.arrow", "no file matches"),
    "other files": ("mixed/", "no known format: notes.md"),
    "other columns": ("columns/", r"b.csv has other columns than a.csv: missing \['x'\], extra \['z'\]"),
    "other types": ("types/", "b.csv.*types"),
    "two of a name": (["columns/a.csv", "types/a.csv"], "two files named a.csv"),
    "another scheme": ("nosuch://bucket/x.parquet", "cannot reach nosuch"),
    "a damaged record": ("bad.tfrecord", "damaged"),
    "a decimal comma": ("one.parquet", "--decimal is for"),
}


@pytest.mark.parametrize("name", REFUSED_SOURCES)
def test_a_source_that_is_none_is_refused_by_name(tmp_path, name):
    """One line, and nothing is written."""
    for folder in ("empty", "mixed", "columns", "types"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mixed" / "notes.md").write_text("none")
    (tmp_path / "mixed" / "a.csv").write_text("x\n1\n")
    for folder, second in (("columns", "z\n1\n"), ("types", "x\nword\n")):
        (tmp_path / folder / "a.csv").write_text("x\n1\n")
        (tmp_path / folder / "b.csv").write_text(second)
    (tmp_path / "bad.tfrecord").write_bytes(b"\x08" + bytes(30))
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "one.parquet")
    what, message = REFUSED_SOURCES[name]
    sources = [each if "://" in each else f"{tmp_path}/{each}" for each in ([what] if isinstance(what, str) else what)]
    decimal = "," if "decimal" in name else "."
    model = FakeModel(np.log, lambda x: 1 / x).connect()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((DataError, UsageError), match=message):
        run(sources, tmp_path / "out.parquet", model=model, decimal=decimal)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_rows_gives_a_file_without_rows(model, table, tmp_path, form):
    """In every format, with the columns that it has."""
    pq.write_table(table.slice(0, 0), tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text("v[0],v[1],v[2],t\n")
    for source in ("in.parquet", "in.csv"):
        out = tmp_path / f"{source}.{form}"
        assert run(tmp_path / source, out, model=model).rows == 0
        layout = Source(out)
        assert [cuts[-1] for cuts in layout.cuts.values()] == [0]
        if form not in ("tfrecord", "csv"):
            assert layout.schema.names[-3:] == ["f", "df_dv", "df_dt"]


POLICIES = {
    "null": [0.75, None, 0.0, None, None],
    "skip": [0.75, 0.0],
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_bad_rows_are_null_or_left_out_and_listed(tmp_path, form, policy):
    """A null, a word and a number too large for float32: each with its row and reason in the side file."""
    model = FakeModel(lambda x: x, dtype="float32").connect()
    source, out = tmp_path / f"in.{form}", tmp_path / "out.parquet"
    if form == "csv":
        source.write_text("k,x\n1,0.75\n2,\n3,0\n4,word\n5,1e300\n")
        reasons = ["null in row 1", "'word' in row 3", "row 4: .*infinite in float32"]
    else:
        pq.write_table(pa.table({"k": [1, 2, 3, 4, 5], "x": [0.75, None, 0.0, None, 1e300]}), source, row_group_size=2)
        reasons = ["null in row 1", "null in row 3", "row 4: .*infinite in float32"]
    with pytest.raises(DataError, match=rf"in.{form}: .*(row 1|row 3).*--on-error null or skip"):
        run(source, out, model=model, compute="value")
    result = run(source, out, model=model, compute="value", on_error=policy, block_rows=3)
    table = pq.read_table(out)
    assert table["f"].to_pylist() == POLICIES[policy]
    assert table["k"].to_pylist() == ([1, 2, 3, 4, 5] if policy == "null" else [1, 3])
    assert (result.rows, result.written, result.bad) == (5, table.num_rows, 3)
    lines = [json.loads(line) for line in (tmp_path / "out.parquet.errors.jsonl").read_text().splitlines()]
    assert [(line["file"], line["row"]) for line in lines] == [(f"in.{form}", row) for row in (1, 3, 4)]
    for line, reason in zip(lines, reasons, strict=True):
        assert re.search(reason, line["error"]), line


def test_columns_of_other_names_and_elements(model, table, tmp_path):
    """--map names the table's own column, for a column of lists and for one for each element."""
    pq.write_table(table.rename_columns(["id", "vector", "time"]), tmp_path / "lists.parquet")
    flat = {"vector[0]": V[:, 0], "vector[1]": V[:, 1], "vector[2]": V[:, 2], "time": T}
    pq.write_table(pa.table(flat), tmp_path / "elements.parquet")
    columns = {"v": "vector", "t": "time"}
    found = []
    for name in ("lists", "elements"):
        run(tmp_path / f"{name}.parquet", tmp_path / f"{name}-out.parquet", model=model, columns=columns)
        found.append(pq.read_table(tmp_path / f"{name}-out.parquet")["df_dv"].to_pylist())
    assert found[0] == found[1]
    with pytest.raises(UsageError, match=r"--map names \['w'\]"):
        run(tmp_path / "lists.parquet", tmp_path / "none.parquet", model=model, columns={"w": "vector"})


def test_rows_outside_of_the_domain_are_counted_and_flagged(model, table, tmp_path):
    """In the summary always, in a column on request."""
    pq.write_table(table, tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet", model=model).outside == 1
    run(tmp_path / "in.parquet", tmp_path / "flags.parquet", model=model, flag_outside=True)
    flags = pq.read_table(tmp_path / "flags.parquet")["outside_domain"].to_pylist()
    assert flags == [bool(t > 2 or t < -1 or v.max() > 3) for v, t in zip(V, T, strict=True)]


COMPUTED = {
    "value": ([], ["f"]),
    "grad": ([], ["f", "df_dx"]),
    "hessian": ([], ["f", "df_dx", "d2f_dx2"]),
    "jvp": (["x_dot"], ["f", "f_dot"]),
    "vjp": (["f_bar"], ["f", "x_bar"]),
    "hvp": (["x_dot"], ["f", "df_dx", "df_dx_dot"]),
}


@pytest.mark.parametrize("compute", COMPUTED)
def test_what_is_computed(log_curved, tmp_path, compute):
    """Directions are columns of the table; results are those of the method."""
    x, along = np.array([0.5, 1.0, 1.6]), np.array([1.0, -2.0, 0.5])
    directions, added = COMPUTED[compute]
    pq.write_table(pa.table({"x": x, **dict.fromkeys(directions, along)}), tmp_path / "in.parquet")
    result = run(tmp_path / "in.parquet", tmp_path / "out.parquet", model=log_curved, compute=compute)
    assert list(result.columns) == added
    expected = {
        "f": np.log(x), "df_dx": 1 / x, "d2f_dx2": -1 / x**2, "f_dot": along / x, "x_bar": along / x,
        "df_dx_dot": -along / x**2,
    }  # fmt: skip
    table = pq.read_table(tmp_path / "out.parquet")
    for name in added:
        np.testing.assert_allclose(np.ravel(table[name].to_pylist()), expected[name], rtol=1e-5)


def test_tables_in_memory_come_back_in_their_own_kind(log_curved):
    """Pandas keeps its index; Polars, if it is there, through Arrow's PyCapsules; and a mapping of arrays."""
    x = np.array([0.5, 1.0, 1.6])
    frame = pd.DataFrame({"x": x, "id": ["a", "b", "c"]}, index=[7, 8, 9])
    out = apply(frame, model=log_curved)
    assert list(out.columns) == ["x", "id", "f", "df_dx"]
    assert out.index.tolist() == [7, 8, 9]
    np.testing.assert_allclose(out["df_dx"], 1 / x, rtol=1e-6)
    for table in (pa.table({"x": x}), {"x": x}):
        assert isinstance(apply(table, model=log_curved, compute="value", block_rows=2), pa.Table)
    with pytest.raises(UsageError, match="list is no table"):
        apply([1.0], model=log_curved)

    class Capsule:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"x": x}).__arrow_c_stream__(requested_schema)

    assert apply(Capsule(), model=log_curved)["f"].to_pylist() == out["f"].tolist()


def test_polars_tables_come_back_as_they_are(log_curved):
    """Where Polars is installed."""
    polars = pytest.importorskip("polars", reason="it is optional, and in no requirement file")
    frame = polars.DataFrame({"x": [0.5, 1.0], "id": ["a", "b"]})
    out = apply(frame, model=log_curved, compute="value")
    assert isinstance(out, polars.DataFrame)
    np.testing.assert_allclose(out["f"].to_numpy(), np.log([0.5, 1.0]), rtol=1e-6)


def test_records_are_those_of_tensorflow(tmp_path):
    """TensorFlow reads what is written here, and the other way round."""
    tf = pytest.importorskip("tensorflow", reason="the client alone is tested where there is no TensorFlow")
    model = FakeModel(np.log, dtype="float32").connect()
    with tf.io.TFRecordWriter(str(tmp_path / "in.tfrecord")) as writer:
        for value in (0.5, 2.0):
            feature = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=[value])),
                "k": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1, 7])),
                "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"one"])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    run(tmp_path / "in.tfrecord", tmp_path / "out.tfrecord", model=model, compute="value")
    found = []
    for record in tf.data.TFRecordDataset(str(tmp_path / "out.tfrecord")):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        found.append((feature["x"].float_list.value[0], feature["f"].float_list.value[0]))
        assert list(feature["k"].int64_list.value) == [-1, 7]
        assert feature["name"].bytes_list.value[0] == b"one"
    np.testing.assert_allclose(found, [(0.5, np.log(0.5)), (2.0, np.log(2.0))], rtol=1e-6)
    data = bytearray((tmp_path / "in.tfrecord").read_bytes())
    data[20] ^= 1
    (tmp_path / "in.tfrecord").write_bytes(data)
    with pytest.raises(DataError, match="record 0 is damaged"):
        run(tmp_path / "in.tfrecord", tmp_path / "no.tfrecord", model=model, compute="value")
