"""Batch jobs: rows of files through a Model, each exactly once, complete or not at all."""

import json
import os
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gradwire
from gradwire import Card, CardTensor, DataError, FakeTransport, Model, PackageError, SignatureNotFound, UsageError
from gradwire.batch import run
from gradwire.testing import FakeModel


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
    digest="sha256:0123",
)
ADDED = ["f", "df_dv", "df_dt", "g", "dg_dv", "dg_dt"]


@pytest.fixture
def model() -> Model:
    """A model with two inputs and two outputs, one of them a vector."""
    return Model(FakeTransport({"serving_default": _answers}, card=CARD))


@pytest.fixture
def log() -> Model:
    """The logarithm in float32."""
    return FakeModel(np.log, lambda x: 1 / x, dtype="float32", domain={"x": (0.5, 2.0)}).connect()


@pytest.fixture
def points(tmp_path):
    """Seven rows, in a file of lists and numbers, with a column that passes through."""
    generator = np.random.default_rng(0)
    v, t = generator.normal(size=(7, 3)), generator.normal(size=7)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(v.reshape(-1)), 3)
    pq.write_table(pa.table({"id": list("abcdefg"), "v": lists, "t": t}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet", v, t


def _names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("block_rows", [1, 3, 7, 100])
def test_results_stand_beside_their_rows_whatever_the_blocks(model, points, block_rows, tmp_path):
    """Vectors become lists, other columns pass through, the order is the file's."""
    path, v, t = points
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out.parquet"
    result = run(path, out, model=model, block_rows=block_rows, on_progress=lambda *counts: seen.append(counts))
    table = pq.read_table(out)
    assert table.column_names == ["id", "v", "t", *ADDED]
    assert table["id"].to_pylist() == list("abcdefg")
    expected = _answers(v, t[:, None])
    for name in result.columns:
        found = np.array(table[name].to_pylist())
        shape = (7, *expected[name].shape[1:]) if expected[name].shape[1:] != (1,) else (7,)
        np.testing.assert_array_equal(found, expected[name].reshape(shape))
    assert (result.rows, result.written, result.computed, result.complete) == (7, 7, 7, True)
    assert seen[-1] == (7, 7)
    assert len(seen) == -(-7 // block_rows)
    assert _names(tmp_path) == ["in.parquet", "out.parquet", "out.parquet.manifest.json"]


def test_what_is_not_finite_and_integers_and_decimals_go_through(tmp_path):
    """NaN and infinities are numbers like others; integers and decimals are read as numbers."""
    double = FakeModel(lambda x: 2 * x).connect()
    decimals = pa.array(["1.25", "-3.50"]).cast(pa.decimal128(10, 2))
    for name, column, expected, count in (
        ("odd", [np.nan, np.inf, -0.0], [np.nan, np.inf, -0.0], 2),
        ("int", [1, 2], [2.0, 4.0], 0),
        ("decimal", decimals, [2.5, -7.0], 0),
    ):
        pq.write_table(pa.table({"x": column}), tmp_path / f"{name}.parquet")
        result = run(tmp_path / f"{name}.parquet", tmp_path / f"{name}-out.parquet", model=double, compute="value")
        found = pq.read_table(tmp_path / f"{name}-out.parquet")["f"].to_numpy()
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
        assert result.non_finite == count


BAD = {
    "lists of another length": (
        {"v": [[1.0, 2.0, 3.0], [1.0, 2.0]], "t": [1.0, 2.0]},
        "in.parquet: .* a row of 2 in row 1 .*, a row of 3 before",
    ),
    "no lists": (
        {"v": [1.0], "t": [1.0]},
        r"holds numbers, expected rows of shape \(3,\): a column of lists, or columns v\[0\]",
    ),
    "null in the list of row 0": ({"v": [[1.0, None, 3.0]], "t": [1.0]}, "null in the list of row 0"),
    "null": ({"v": [[1.0, 2.0, 3.0]], "t": pa.array([None], pa.float64())}, "'t' has a null in row 0.*--on-error"),
    "text": ({"v": [["a", "b", "c"]], "t": [1.0]}, "'v' holds 'a' in row 0"),
    "missing": ({"v": [[1.0, 2.0, 3.0]]}, r"missing columns \['t'\]"),
    "taken": ({"v": [[1.0, 2.0, 3.0]], "t": [1.0], "dg_dt": [0.0]}, r"\['dg_dt'\] already"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_leaves_nothing(model, tmp_path, name):
    """The message says which file, which column and which row, and no file appears."""
    columns, message = BAD[name]
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    for target in ("out.parquet", "new/out.parquet", "out/"):
        with pytest.raises(DataError, match=message):
            run(tmp_path / "in.parquet", f"{tmp_path}/{target}", model=model)
    assert _names(tmp_path) == ["in.parquet"]


def test_the_row_of_a_mistake_is_that_of_the_file_not_of_the_block(model, tmp_path):
    """Blocks are not the user's business; nor are row groups."""
    columns = {"v": [[1.0, 2.0, 3.0]] * 5, "t": pa.array([1.0, 1.0, 1.0, None, 1.0], pa.float64())}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=2)
    with pytest.raises(DataError, match="null in row 3"):
        run(tmp_path / "in.parquet", tmp_path / "out.parquet", model=model, block_rows=2)


def test_an_interrupted_job_leaves_the_old_file(model, points, tmp_path):
    """Ctrl-C in the middle: what was there stays whole, and no temporary file is left."""
    path, _, _ = points
    out = tmp_path / "out.parquet"
    run(path, out, model=model)
    before = {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)}

    def stop(done, rows):
        raise KeyboardInterrupt

    with pytest.raises(PackageError, match="--overwrite"):
        run(path, out, model=model, compute="value")
    with pytest.raises(KeyboardInterrupt):
        run(path, out, model=model, block_rows=2, overwrite=True, on_progress=stop)
    assert {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)} == before
    assert run(path, out, model=model, block_rows=2, overwrite=True).computed == 7


def test_a_package_without_serving_default_is_refused(points, tmp_path):
    """The message says which signatures there are."""
    spec = gradwire.TensorSpec("x", "float64", (None, 1))
    signature = gradwire.Signature("other", {"x": spec}, {"f": spec})
    other = Model(FakeTransport({"other": lambda x: {"f": x}}, signatures=(signature,)))
    with pytest.raises(SignatureNotFound, match="other"):
        run(points[0], tmp_path / "out.parquet", model=other)
    assert _names(tmp_path) == ["in.parquet"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_modes_of_a_result_are_those_of_any_program(model, points, tmp_path, umask):
    """The user's own umask decides, for a file and for those of a directory."""
    before = os.umask(umask)
    try:
        run(points[0], tmp_path / "out.parquet", model=model)
        run(points[0], f"{tmp_path}/out/", model=model)
    finally:
        os.umask(before)
    results = [*tmp_path.glob("out.parquet*"), *(tmp_path / "out").iterdir()]
    assert len(results) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in results} == {0o666 & ~umask}


@pytest.mark.parametrize("name", ["in.parquet", "in.PARQUET", "in.pq", "in"])
def test_the_suffix_names_the_format_and_parquet_is_the_default(model, points, tmp_path, name):
    """A file of any suffix is opened; whatever is not a known format is Parquet."""
    path = points[0].rename(tmp_path / name)
    run(path, tmp_path / "out", model=model)
    assert pq.read_table(tmp_path / "out").num_rows == 7


def test_one_version_for_the_whole_job(stand_in, tmp_path):
    """A version that arrives during the job changes nothing; which one it was stands in the file and the manifest."""
    x = np.linspace(0.5, 1.5, 10)
    pq.write_table(pa.table({"x": x}), tmp_path / "in.parquet")

    def arrive(request, context):
        if request.model_spec.signature_name == "serving_default":
            stand_in.models["log"][2] = stand_in.models["versions"][2]  # twice the logarithm

    stand_in.hook = arrive
    with gradwire.connect(stand_in.target, "log") as log:
        result = run(tmp_path / "in.parquet", tmp_path / "out.parquet", model=log, block_rows=3)
        assert log.value(2.0) == 2 * np.log(2.0)
    table = pq.read_table(tmp_path / "out.parquet")
    assert np.array_equal(table["f"], np.log(x))
    assert result.version == 1
    assert table.schema.metadata[b"gradwire.version"] == b"1"
    assert json.loads((tmp_path / "out.parquet.manifest.json").read_text())["package"]["version"] == 1


def test_a_version_that_goes_away(stand_in, tmp_path):
    """When the server unloads the version before the end, the job fails and leaves nothing."""
    pq.write_table(pa.table({"x": np.linspace(0.5, 1.5, 10)}), tmp_path / "in.parquet")

    def leave(request, context):
        if request.model_spec.signature_name == "serving_default":
            stand_in.models["log"] = {2: stand_in.models["log"].popitem()[1]}

    stand_in.hook = leave
    with gradwire.connect(stand_in.target, "log") as log, pytest.raises(gradwire.ModelNotFound):
        run(tmp_path / "in.parquet", tmp_path / "out.parquet", model=log, block_rows=3)
    assert _names(tmp_path) == ["in.parquet"]


@pytest.mark.parametrize("target", ["out.parquet", "out/"])
def test_a_result_says_where_it_comes_from(model, points, tmp_path, target):
    """Digest, options and the input's fingerprint, in the schema of every file and in the manifest."""
    run(points[0], f"{tmp_path}/{target}", model=model)
    (file,) = list((tmp_path / "out").glob("part-*")) or [tmp_path / "out.parquet"]
    metadata = pq.read_schema(file).metadata
    assert metadata[b"gradwire.digest"] == b"sha256:0123"
    assert json.loads(metadata[b"gradwire.options"])["compute"] == "grad"
    manifest = json.loads(next(path for path in tmp_path.rglob("*manifest.json")).read_text())
    assert manifest["package"]["digest"] == "sha256:0123"
    (entry,) = manifest["input"]
    assert (entry["name"], entry["size"]) == ("in.parquet", points[0].stat().st_size)
    assert len(metadata[b"gradwire.input"]) == 64
    assert manifest["totals"]["rows"] == 7
    with pytest.raises(UsageError, match="where the rows come from"):
        run(points[0], points[0], model=model)
