"""Batch jobs: blocks of a file through a Model, complete or not at all."""

import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gradwire
from gradwire import Card, CardTensor, DataError, FakeTransport, Model, PackageError, SignatureNotFound
from gradwire.batch import ParquetSink, ParquetSource, _formats, open_sink, open_source, run


def _answers(v, t):
    """F = t * sum v^2 (one number), g = t * v (three); with all derivatives."""
    eye = np.broadcast_to(np.eye(3), (len(v), 3, 3))
    return {
        "f": t * np.sum(v**2, axis=1, keepdims=True),
        "df_dv": 2 * t * v,
        "df_dt": np.sum(v**2, axis=1, keepdims=True),
        "g": t * v,
        "dg_dv": t[:, :, None] * eye,
        "dg_dt": v[:, :, None],
    }


CARD = Card(
    name="pair",
    inputs=(CardTensor("v", "float64", (3,)), CardTensor("t", "float64", (1,))),
    outputs=(CardTensor("f", "float64", (1,)), CardTensor("g", "float64", (3,))),
    derivatives={"f": {"v": "df_dv", "t": "df_dt"}, "g": {"v": "dg_dv", "t": "dg_dt"}},
    signatures=("serving_default",),
)


@pytest.fixture
def model() -> Model:
    """A model with two inputs and two outputs, one of them a vector."""
    return Model(FakeTransport({"serving_default": _answers}, card=CARD))


@pytest.fixture
def points(tmp_path):
    """Seven rows, in a file of lists and numbers, with a column that passes through."""
    generator = np.random.default_rng(0)
    v, t = generator.normal(size=(7, 3)), generator.normal(size=7)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(v.reshape(-1)), 3)
    pq.write_table(pa.table({"id": list("abcdefg"), "v": lists, "t": t}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet", v, t


@pytest.mark.parametrize("block_rows", [1, 3, 7, 100])
def test_results_stand_beside_their_rows_whatever_the_blocks(model, points, block_rows, tmp_path):
    """Vectors become lists, other columns pass through, the order is the file's."""
    path, v, t = points
    seen: list[tuple[int, int]] = []
    source, sink = ParquetSource(path, block_rows=block_rows), ParquetSink(tmp_path / "out.parquet")
    result = run(model, source, sink, on_progress=lambda done, rows: seen.append((done, rows)))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "v", "t", "f", "df_dv", "df_dt", "g", "dg_dv", "dg_dt"]
    assert table["id"].to_pylist() == list("abcdefg")
    expected = _answers(v, t[:, None])
    for name in result.columns:
        found = np.array(table[name].to_pylist())
        shape = (7, *expected[name].shape[1:]) if expected[name].shape[1:] != (1,) else (7,)
        np.testing.assert_array_equal(found, expected[name].reshape(shape))
    assert result.rows == 7
    assert seen[-1] == (7, 7)
    assert len(seen) == -(-7 // block_rows)


def test_what_is_not_finite_and_integers_go_through(tmp_path):
    """NaN and infinities are numbers like others; an integer column is read as numbers."""
    card = Card("log", (CardTensor("x", "float64", (1,)),), (CardTensor("f", "float64", (1,)),), {"f": {}}, ())
    double = Model(FakeTransport({"serving_default": lambda x: {"f": 2 * x}}, card=card))
    for name, column, expected in (
        ("odd", [np.nan, np.inf, -0.0], [np.nan, np.inf, -0.0]),
        ("int", [1, 2], [2.0, 4.0]),
    ):
        pq.write_table(pa.table({"x": column}), tmp_path / f"{name}.parquet")
        sink = ParquetSink(tmp_path / f"{name}-out.parquet")
        run(double, ParquetSource(tmp_path / f"{name}.parquet"), sink)
        found = pq.read_table(tmp_path / f"{name}-out.parquet")["f"].to_numpy()
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


BAD = {
    "lists of another length": (
        {"v": [[1.0, 2.0, 3.0], [1.0, 2.0]], "t": [1.0, 2.0]},
        "a row of 2 in row 1 .*, a row of 3 before",
    ),
    "no lists": (
        {"v": [1.0], "t": [1.0]},
        r"holds numbers, expected rows of shape \(3,\): a column of lists, or columns v\[0\]",
    ),
    "null in the list of row 0": ({"v": [[1.0, None, 3.0]], "t": [1.0]}, "null in the list of row 0"),
    "null": ({"v": [[1.0, 2.0, 3.0]], "t": pa.array([None], pa.float64())}, "'t' has a null in row 0"),
    "text": ({"v": [["a", "b", "c"]], "t": [1.0]}, "'v' holds 'a' in row 0"),
    "missing": ({"v": [[1.0, 2.0, 3.0]]}, r"missing columns \['t'\]"),
    "taken": ({"v": [[1.0, 2.0, 3.0]], "t": [1.0], "dg_dt": [0.0]}, r"\['dg_dt'\] already"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_leaves_nothing(model, tmp_path, name):
    """The message says which column and which row, and no file appears."""
    columns, message = BAD[name]
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=message):
        run(model, ParquetSource(tmp_path / "in.parquet"), ParquetSink(tmp_path / "out.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_the_row_of_a_mistake_is_that_of_the_file_not_of_the_block(model, tmp_path):
    """Blocks are not the user's business."""
    columns = {"v": [[1.0, 2.0, 3.0]] * 5, "t": pa.array([1.0, 1.0, 1.0, None, 1.0], pa.float64())}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    with pytest.raises(DataError, match="null in row 3"):
        run(model, ParquetSource(tmp_path / "in.parquet", block_rows=2), ParquetSink(tmp_path / "out.parquet"))


def test_an_interrupted_job_leaves_the_old_file(model, points, tmp_path):
    """Ctrl-C in the middle: what was there stays whole, and no temporary file is left."""
    path, _, _ = points
    out = tmp_path / "out.parquet"
    run(model, ParquetSource(path), ParquetSink(out))
    before = out.read_bytes()

    def stop(done, rows):
        raise KeyboardInterrupt

    with pytest.raises(PackageError, match="--overwrite"):
        ParquetSink(out)
    with pytest.raises(KeyboardInterrupt):
        run(model, ParquetSource(path, block_rows=2), ParquetSink(out, overwrite=True), on_progress=stop)
    assert out.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_a_package_without_serving_default_is_refused(points, tmp_path):
    """The message says which signatures there are."""
    spec = gradwire.TensorSpec("x", "float64", (None, 1))
    signature = gradwire.Signature("other", {"x": spec}, {"f": spec})
    other = Model(FakeTransport({"other": lambda x: {"f": x}}, signatures=(signature,)))
    with pytest.raises(SignatureNotFound, match="other"):
        run(other, ParquetSource(points[0]), ParquetSink(tmp_path / "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


def test_a_result_is_readable_by_others(model, points, tmp_path):
    """A temporary file is private; the result is for colleagues and containers, whatever was there before."""
    out = tmp_path / "out.parquet"
    run(model, ParquetSource(points[0]), ParquetSink(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    out.chmod(0o600)
    run(model, ParquetSource(points[0]), ParquetSink(out, overwrite=True))
    assert stat.S_IMODE(out.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["in.parquet", "in.PARQUET", "in.pq", "in"])
def test_the_suffix_names_the_format_and_parquet_is_the_default(model, points, tmp_path, name):
    """A file of any suffix is opened; whatever is not a known format is Parquet."""
    path = points[0].rename(tmp_path / name)
    run(model, open_source(path), open_sink(tmp_path / "out"))
    assert pq.read_table(tmp_path / "out").num_rows == 7
    with pytest.raises(PackageError, match="--overwrite"):
        open_sink(tmp_path / "out")


def test_a_new_format_of_results_is_one_module(monkeypatch, tmp_path):
    """A module beside parquet.py that is named by its suffix is found by it."""
    (tmp_path / "rows.py").write_text("open_sink = lambda path, overwrite: ('sink', path.name)\n")
    monkeypatch.setattr(_formats, "__path__", [*_formats.__path__, str(tmp_path)])
    monkeypatch.setattr(_formats, "SUFFIXES", _formats.SUFFIXES | {"rows"})
    assert open_sink("points.rows") == ("sink", "points.rows")


def test_one_version_for_the_whole_job(stand_in, tmp_path):
    """A version that arrives during the job changes nothing; which one it was stands in the file."""
    x = np.linspace(0.5, 1.5, 10)
    pq.write_table(pa.table({"x": x}), tmp_path / "in.parquet")

    def arrive(request, context):
        if request.model_spec.signature_name == "serving_default":
            stand_in.models["log"][2] = stand_in.models["versions"][2]  # twice the logarithm

    stand_in.hook = arrive
    with gradwire.connect(stand_in.target, "log") as log:
        source, sink = ParquetSource(tmp_path / "in.parquet", block_rows=3), ParquetSink(tmp_path / "out.parquet")
        result = run(log, source, sink)
        assert log.value(2.0) == 2 * np.log(2.0)
    table = pq.read_table(tmp_path / "out.parquet")
    assert np.array_equal(table["f"], np.log(x))
    assert result.version == 1
    assert table.schema.metadata[b"gradwire.version"] == b"1"


def test_a_version_that_goes_away(stand_in, tmp_path):
    """When the server unloads the version before the end, the job fails and leaves nothing."""
    pq.write_table(pa.table({"x": np.linspace(0.5, 1.5, 10)}), tmp_path / "in.parquet")

    def leave(request, context):
        if request.model_spec.signature_name == "serving_default":
            stand_in.models["log"] = {2: stand_in.models["log"].popitem()[1]}

    stand_in.hook = leave
    with gradwire.connect(stand_in.target, "log") as log, pytest.raises(gradwire.ModelNotFound):
        run(log, ParquetSource(tmp_path / "in.parquet", block_rows=3), ParquetSink(tmp_path / "out.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]
