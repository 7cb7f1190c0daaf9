"""Batch jobs, exactly once: what was stopped goes on with the same bytes, and nothing is replaced in silence."""

import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradwire import Card, CardTensor, DataError, FakeTransport, Model, PackageError, UsageError
from gradwire.batch import BatchOptions, Computation, Ledger, Source, _job, _ledger, plan, run
from gradwire.batch._storage import LocalStorage

CARD = Card(
    "log", (CardTensor("x", "float64", (1,)),), (CardTensor("f", "float64", (1,)),), {"f": {"x": "df_dx"}}, (),
    digest="sha256:one",
)  # fmt: skip
UNITS = 6
TARGETS = ["out/", "out.parquet", "out.npz", "memory://jobs/out/", "memory://jobs/out.parquet"]


def _log(digest="sha256:one"):
    answers = {"serving_default": lambda x: {"f": np.log(x), "df_dx": 1 / x}, "value": lambda x: {"f": np.log(x)}}
    return Model(FakeTransport(answers, card=replace(CARD, digest=digest)))


@pytest.fixture
def points(tmp_path, monkeypatch):
    """Rows in six units, in two files."""
    monkeypatch.setattr(_job, "UNIT_ROWS", 4)
    (tmp_path / "in").mkdir()
    for name, first in (("a", 0), ("b", 12)):
        rows = np.arange(first, first + 12)
        pq.write_table(pa.table({"id": rows, "x": 1.0 + rows}), tmp_path / "in" / f"{name}.parquet", row_group_size=2)
    return tmp_path / "in"


@pytest.fixture
def place(tmp_path, request):
    """Where results go, by the name of a target."""
    if hasattr(request, "param"):
        return request.param
    return tmp_path / "place"


def _address(tmp_path, target, name="place"):
    if "://" in target:
        return target.replace("jobs", f"{tmp_path.name}-{name}")
    return f"{tmp_path}/{name}/{target}"


def _files(address):
    """Every file at a place and beside it, with its bytes."""
    if "://" in address:
        from fsspec import filesystem

        system, folder = filesystem("memory"), "/" + address.split("/")[2]
        return {name[len(folder) :]: system.cat_file(name) for name in sorted(system.find(folder))}
    folder = Path(address.rstrip("/")).parent
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


class Stop(BaseException):
    """As Ctrl-C and SIGTERM are."""


def _after(rows, error=Stop):
    def stop(done, total):
        if done >= rows:
            raise error

    return stop


@pytest.mark.parametrize("target", TARGETS)
def test_a_stopped_job_goes_on_and_ends_with_the_same_bytes(points, tmp_path, target):
    """Stopped again and again, it computes each unit once; the result, the manifest and the names are the same."""
    whole, parts = _address(tmp_path, target, "whole"), _address(tmp_path, target, "parts")
    assert run(points, whole, model=_log()).computed == 24
    computed = []
    for rows in (9, 17):
        with pytest.raises(Stop):
            run(points, parts, model=_log(), on_progress=_after(rows))
        left = _files(parts)
        assert not [name for name in left if name.endswith(".tmp")]
        assert not [name for name in left if "manifest" in name]
        computed.append(sum("part-" in name and name.endswith(".json") for name in left))
    result = run(points, parts, model=_log())
    assert (result.rows, result.complete) == (24, True)
    assert 0 < computed[0] <= computed[1] < UNITS
    assert result.computed == 24 - 4 * computed[1]
    assert _files(parts) == _files(whole)
    assert run(points, parts, model=_log()).computed == 0
    assert _files(parts) == _files(whole)


@pytest.mark.parametrize("target", TARGETS)
def test_the_end_can_be_stopped_as_well(points, tmp_path, target, monkeypatch):
    """Between the target and its manifest, and between the manifest and the removal of the job's directory."""
    whole, parts = _address(tmp_path, target, "whole"), _address(tmp_path, target, "parts")
    run(points, whole, model=_log())

    def stop(*args):
        raise Stop

    for method in ("_manifest", "_remove_work"):
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, method, stop)
            with pytest.raises(Stop):
                run(points, parts, model=_log())
    assert run(points, parts, model=_log()).computed == 0
    assert _files(parts) == _files(whole)


CHANGES = {
    "a file": ("input", "b.parquet was changed"),
    "a file more": ("input", "c.parquet was not there"),
    "a file less": ("input", "b.parquet is not there now"),
    "the package": ("package", "digest was 'sha256:one' and is 'sha256:two'"),
    "an option": ("options", "compute was 'grad' and is 'value'"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("target", TARGETS[:2])
def test_a_job_does_not_go_on_with_something_else(points, tmp_path, target, name):
    """What changed is named; --restart begins anew, and leaves nothing of the old."""
    sink = _address(tmp_path, target)
    with pytest.raises(Stop):
        run(points, sink, model=_log(), on_progress=_after(9))
    before = _files(sink)
    changed = {"model": _log("sha256:two" if name == "the package" else "sha256:one")}
    changed["compute"] = "value" if name == "an option" else "grad"
    if name == "a file":
        pq.write_table(pa.table({"id": [100], "x": [0.5]}), points / "b.parquet")
    if name == "a file more":
        pq.write_table(pa.table({"id": [100], "x": [0.5]}), points / "c.parquet")
    if name == "a file less":
        (points / "b.parquet").unlink()
    kind, message = CHANGES[name]
    with pytest.raises(UsageError, match=f"unfinished job of another {kind} .*{message}.*--restart"):
        run(points, sink, **changed)
    assert _files(sink) == before
    result = run(points, sink, restart=True, **changed)
    assert result.complete
    other = _address(tmp_path, target, "other")
    run(points, other, **changed)
    assert _files(sink) == _files(other)


MENDED = {
    "the row": {"mend": True},
    "left out": {"on_error": "skip"},
    "null": {"on_error": "null"},
    "both": {"mend": True, "on_error": "skip"},
}


@pytest.mark.parametrize("how", MENDED)
@pytest.mark.parametrize("target", TARGETS)
def test_a_job_that_a_bad_row_has_ended_goes_on(points, tmp_path, target, how):
    """With the row mended, or with another word about it; the units of other files are not computed again."""
    sink, alone = _address(tmp_path, target), _address(tmp_path, target, "alone")
    rows = {"id": np.arange(12, 24), "x": [1.0 + row if row != 20 else None for row in range(12, 24)]}
    pq.write_table(pa.table(rows), points / "b.parquet", row_group_size=2)
    with pytest.raises(DataError, match=r"b.parquet: .*null in row 8.*--on-error"):
        run(points, sink, model=_log())
    done = sum("part-" in name and name.endswith(".json") for name in _files(sink))
    assert done >= UNITS / 2
    options = dict(MENDED[how])
    if options.pop("mend", False):
        rows["x"][8] = 0.5
        pq.write_table(pa.table(rows), points / "b.parquet", row_group_size=2)
        done = UNITS // 2  # those of the file that was not changed
    result = run(points, sink, model=_log(), **options)
    assert result.computed == 24 - 4 * done
    run(points, alone, model=_log(), **options)
    assert _files(sink) == _files(alone)


REFUSED_MENDS = {
    "another file": ("input", "a.parquet was changed"),
    "a file less": ("input", "b.parquet is not there now"),
    "what is computed": ("options", "compute was"),
    "the package": ("package", "digest was"),
    "a shard": ("options", "on_error was 'fail' and is 'skip'"),
}


@pytest.mark.parametrize("name", REFUSED_MENDS)
def test_a_job_that_a_bad_row_has_ended_does_not_go_on_with_something_else(points, tmp_path, name):
    """Only that row's file may have changed, and what is done about it, and no other process may be at work."""
    x = pa.array([None], pa.float64())
    pq.write_table(pa.table({"id": [12], "x": x}), points / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet"):
        run(points, tmp_path / "out.parquet", model=_log())
    options = {"on_error": "skip", "model": _log("sha256:two" if name == "the package" else "sha256:one")}
    if name == "another file":
        os.utime(points / "a.parquet", ns=(1, 1))
    elif name == "a file less":
        (points / "b.parquet").unlink()
    elif name == "what is computed":
        options["compute"] = "value"
    elif name == "a shard":
        options["shard"] = (0, 2)
    kind, message = REFUSED_MENDS[name]
    with pytest.raises(UsageError, match=rf"unfinished job of another .*{kind}.* \(.*{message}.*--restart"):
        run(points, tmp_path / "out.parquet", **options)


@pytest.mark.parametrize("target", TARGETS[:2])
def test_two_jobs_on_one_target(points, tmp_path, target):
    """The first has it, the second is told, and the target is the first one's."""
    sink = _address(tmp_path, target)
    model, options, source = _log(), BatchOptions(compute="value"), Source(points)
    job = plan(source, sink, options, Computation(model, options, source.schema).package, None)
    with Ledger(job).held():
        before = _files(sink)
        for changed in ({}, {"compute": "value"}, {"restart": True}, {"shard": (0, 2)}):
            with pytest.raises(PackageError, match="being written by another process"):
                run(points, sink, model=model, **changed)
        assert _files(sink) == before
    assert run(points, sink, model=model, compute="value").complete
    with pytest.raises(PackageError, match=r"exists: .*--overwrite"):
        run(points, sink, model=model)
    assert run(points, sink, model=model, overwrite=True).computed == 24
    other = _address(tmp_path, target, "other")
    run(points, other, model=model)
    assert _files(sink) == _files(other)


@pytest.mark.parametrize("has_links", [True, False])
def test_the_commit_itself_refuses_what_is_there(points, tmp_path, monkeypatch, has_links):
    """A file that comes to the target during the job stays; the results are kept until it is gone."""
    sink = tmp_path / "out.parquet"
    if not has_links:

        def link(*args):
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(os, "link", link)

    def come(done, total):
        sink.write_text("another's")

    with pytest.raises(PackageError, match="came to be there during the job"):
        run(points, sink, model=_log(), on_progress=come)
    assert sink.read_text() == "another's"
    sink.unlink()
    assert run(points, sink, model=_log()).computed == 0
    assert pq.read_table(sink)["id"].to_pylist() == list(range(24))


@pytest.mark.parametrize("target", TARGETS)
def test_shards_share_a_manifest(points, tmp_path, target):
    """In any order; the last to end commits, and the result is that of one process."""
    whole, parts = _address(tmp_path, target, "whole"), _address(tmp_path, target, "parts")
    run(points, whole, model=_log())
    for number, rows in ((2, 8), (0, 8), (1, 8)):
        result = run(points, parts, model=_log(), shard=(number, 3))
        assert (result.computed, result.complete) == (rows, number == 1)
    assert _files(parts) == _files(whole)
    for options, message in (({"shard": (3, 3)}, "expected K/N"), ({"shard": (0, 3), "restart": True}, "other shards")):
        with pytest.raises(UsageError, match=message):
            run(points, parts, model=_log(), **options)


FAULTS = {
    "a quota": "File too large",
    "a target that is gone": "No such file or directory",
    "a directory that cannot be written": "Not a directory|Permission denied",
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("target", TARGETS[:2])
def test_what_goes_wrong_with_the_target_is_one_line(points, tmp_path, target, name):
    """And the job goes on when it is right again."""
    sink = _address(tmp_path, target)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def spoil(done, total):
        if done > 8:
            import shutil

            shutil.rmtree(tmp_path / "place", ignore_errors=True)

    if name.startswith("a quota"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    if name.startswith("a directory"):
        (tmp_path / "place").write_text("a file")
    try:
        with pytest.raises(PackageError, match=f"cannot write to .*({FAULTS[name]}); give a place") as caught:
            run(points, sink, model=_log(), on_progress=spoil if "gone" in name else None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(caught.value)
    if name.startswith("a directory"):
        (tmp_path / "place").unlink()
    assert run(points, sink, model=_log()).complete


@pytest.mark.parametrize("rows", [4, 24])
def test_an_input_that_changes_during_the_job_is_refused(points, tmp_path, rows):
    """Its units before and after would be of two tables; before its last unit is read, and after."""

    def change(done, total):
        if done >= rows:
            pq.write_table(pa.table({"id": [100], "x": [0.5]}), points / "b.parquet")

    with pytest.raises(DataError, match=r"b.parquet was changed while the job ran"):
        run(points, tmp_path / "out.parquet", model=_log(), on_progress=change)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_directory_can_be_stopped_while_it_is_replaced(points, tmp_path, monkeypatch):
    """Some of the old files are gone then, some are there; the same command removes them, and no others."""
    sink, other = f"{tmp_path}/place/out/", f"{tmp_path}/other/out/"
    run(points, sink, model=_log(), compute="value")
    run(points, other, model=_log())
    removed = []

    def remove(storage, path):
        removed.append(path)
        if len(removed) == 4:
            raise Stop
        Path(path).unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "remove", remove)
        with pytest.raises(Stop):
            run(points, sink, model=_log(), overwrite=True)
    run(points, sink, model=_log(), overwrite=True)
    assert _files(sink) == _files(other)


def test_a_directory_of_other_files_is_left_alone(points, tmp_path):
    """Whatever the options; a job's own files are replaced on request."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    for options in ({}, {"overwrite": True}, {"restart": True}):
        with pytest.raises(PackageError, match=r"has other files, such as thesis.tex"):
            run(points, tmp_path / "out", model=_log(), **options)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_the_name_of_a_unit_is_of_its_rows_the_package_and_the_options(points, tmp_path):
    """Whatever of these is another, so is every name; the same give the same, wherever the target is."""

    def names(**changed):
        options = BatchOptions(compute=changed.get("compute", "grad"))
        package = {"digest": changed.get("digest", "one")}
        job = plan(Source(points), f"{tmp_path}/{changed.get('to', 'out')}/", options, package, changed.get("form"))
        return {unit.name for unit in job.units}

    first = names()
    assert len(first) == UNITS
    assert names(to="elsewhere") == first
    for changed in ({"compute": "value"}, {"digest": "two"}, {"form": "csv"}):
        assert not names(**changed) & first
    os.utime(points / "a.parquet", ns=(1, 1))
    assert len(names() & first) == UNITS / 2


@pytest.mark.parametrize("target", TARGETS[:2])
def test_a_part_that_was_damaged_is_computed_again(points, tmp_path, target):
    """One that is gone, and one that was cut off after it was recorded."""
    whole, parts = _address(tmp_path, target, "whole"), _address(tmp_path, target, "parts")
    run(points, whole, model=_log())
    with pytest.raises(Stop):
        run(points, parts, model=_log(), on_progress=_after(24))
    there = sorted((tmp_path / "parts").rglob("part-*.arrows" if "parquet" in target else "part-*.parquet"))
    assert len(there) > 2
    there[0].unlink()
    there[1].write_bytes(there[1].read_bytes()[:-1])
    assert run(points, parts, model=_log()).computed == 24 - 4 * (len(there) - 2)
    assert _files(parts) == _files(whole)


def test_a_result_that_was_damaged_is_made_again(points, tmp_path):
    """A manifest counts only with the files that it lists; so does a record."""
    sink = tmp_path / "out"
    run(points, f"{sink}/", model=_log())
    before = _files(str(sink))
    manifest = json.loads((sink / "_manifest.json").read_text())
    assert [file["sha256"] for file in manifest["files"]] == [unit["sha256"] for unit in manifest["units"]]
    (sink / manifest["files"][2]["name"]).unlink()
    assert run(points, f"{sink}/", model=_log(), overwrite=True).computed == 24
    assert _files(str(sink)) == before
    assert _ledger.WORK not in str(list(sink.iterdir()))
