"""Checkpoints: when they are there, what they refuse, and that they are never half written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradwire._errors import PackageError, UsageError
from gradwire_training import Samples, Value, fit, mlp, optimizers
from gradwire_training._fit.request import digest_of
from gradwire_training._progress import checkpoint as checkpoint_module

STEPS = 600


@pytest.fixture(scope="module", autouse=True)
def _at_every_chance():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_module, "EVERY_SECONDS", 0.0)
        yield


def _stop(step, seen=None):
    def callback(progress):
        if seen is not None:
            seen.append(progress.step)
        return progress.step >= step

    return callback


@pytest.fixture(scope="module")
def left(log, tmp_path_factory):
    """A fit that was stopped: its arguments, and its checkpoint."""
    path = tmp_path_factory.mktemp("build") / "log.checkpoint"
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,), activation="tanh")
    arguments = {"model": model, "samples": log.samples(), "optimizer": "adam", "steps": STEPS, "seed": 2}
    result = fit(**arguments, callbacks=[_stop(100)], checkpoint=path)
    assert result.status == "stopped"
    return arguments, path


@pytest.fixture
def stopped(left, tmp_path):
    """The same, with a copy of the checkpoint that may be used up."""
    arguments, path = left
    return arguments, Path(shutil.copy(path, tmp_path))


@pytest.mark.slow
def test_a_stopped_fit_goes_on_where_its_checkpoint_is(stopped, log):
    """The history, the best weights and the seconds go on; the file goes when the fit is completed."""
    arguments, path = stopped
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    came = len(np.load(path)["books:loss"])
    seconds = float(np.load(path)["books:seconds"])
    seen = []
    resumed = fit(**arguments, checkpoint=path, resume=True, callbacks=[_stop(10**9, seen)])
    plain = fit(**arguments)
    assert came < seen[0] <= STEPS
    assert (resumed.status, resumed.steps, resumed.loss) == ("completed", STEPS, plain.loss)
    assert resumed.seconds > seconds
    np.testing.assert_array_equal(resumed.history["loss"], plain.history["loss"])
    assert set(resumed.history["optimizer"]) == {"adam"}
    assert list(path.parent.iterdir()) == []


OTHER = {
    "samples": lambda log: {"samples": log.samples(18)},
    "seed": lambda log: {"seed": 3},
    "steps": lambda log: {"steps": STEPS + 1},
    "optimizer": lambda log: {"optimizer": optimizers.Adam(learning_rate=0.02)},
    "loss": lambda log: {"loss": Value()},
    "initial weights": lambda log: {"model": log.network(seed=1)},
    "dtype": lambda log: {"dtype": "float64"},
}


@pytest.mark.parametrize("what", OTHER)
def test_another_fit_does_not_take_it_up(stopped, log, what):
    """The message names what differs, with both, and the file stays as it is."""
    arguments, path = stopped
    before = path.read_bytes()
    with pytest.raises(UsageError, match=rf"log.checkpoint is of another fit \(.*{what}: it had .*, now "):
        fit(**{**arguments, **OTHER[what](log)}, checkpoint=path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_without_a_file_the_fit_begins_at_its_start(log, small, tmp_path):
    """A job that is started again and again may ask to resume from the first time on."""
    path = tmp_path / "none.checkpoint"
    result = fit(small(), log.samples(), optimizer="sgd", steps=20, checkpoint=path, resume=True)
    assert (result.status, result.steps) == ("completed", 20)
    with pytest.raises(UsageError, match="resume needs checkpoint, the file to go on from"):
        fit(small(), log.samples(), resume=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_a_damaged_file_is_refused(log, small, tmp_path, content):
    """It was not written by a fit, which renames a complete one into place."""
    path = tmp_path / "log.checkpoint"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"log.checkpoint is not a checkpoint .*: remove it, or do not resume"):
        fit(small(), log.samples(), optimizer="sgd", steps=20, checkpoint=path, resume=True)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.9, 0.999, None])
def test_a_damaged_checkpoint_is_refused(stopped, where):
    """One bit anywhere, or a file that ends early: nothing of it is taken, and the model keeps its weights."""
    arguments, path = stopped
    data = bytearray(path.read_bytes())
    if where is None:
        del data[-100:]
    else:
        data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    before = arguments["model"].get_weights()
    with pytest.raises(PackageError, match=r"log.checkpoint is not a checkpoint \(it.* checksum"):
        fit(**arguments, checkpoint=path, resume=True)
    assert all(map(np.array_equal, before, arguments["model"].get_weights()))


def test_a_foreign_archive_is_refused(stopped):
    """NumPy's own file has no checksum; one with a checksum has to be a fit's all the same."""
    arguments, path = stopped
    with path.open("wb") as stream:
        np.savez(stream, x=np.ones(3))
    with pytest.raises(PackageError, match="it has no checksum: an older gradwire or another program wrote it"):
        fit(**arguments, checkpoint=path, resume=True)
    with path.open("r+b") as stream:
        size = len(path.read_bytes())
        stream.seek(size)
        stream.write(checkpoint_module._checksum(stream, size))
    with pytest.raises(PackageError, match=r"log.checkpoint is not a checkpoint"):
        fit(**arguments, checkpoint=path, resume=True)


def test_a_file_that_cannot_be_written_ends_the_fit_with_a_message(log, small, tmp_path):
    """A fit of a night should not find out in the morning."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"cannot write the checkpoint .*file/log.checkpoint"):
        fit(small(), log.samples(), optimizer="sgd", steps=20, checkpoint=tmp_path / "file" / "log.checkpoint")


def test_writing_takes_a_twentieth_of_the_time_at_most(monkeypatch, tmp_path):
    """The larger the model, the rarer its checkpoints."""
    clock = [0.0]
    monkeypatch.setattr(checkpoint_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint_module.os, "fsync", lambda _: clock.__setitem__(0, clock[0] + 3.0))
    checkpoint = checkpoint_module.Checkpoint(tmp_path / "c", {}, [np.zeros(3)])
    assert checkpoint.is_due
    checkpoint.write({}, {})
    clock[0] += 59.0
    assert not checkpoint.is_due
    clock[0] += 1.0
    assert checkpoint.is_due


def test_a_checkpoint_is_on_the_disk_before_it_is_renamed(monkeypatch, tmp_path):
    """A machine that loses power has the old file or the new one: every byte is synchronised before the rename."""
    events, fsync, replace = [], os.fsync, Path.replace

    def synchronised(descriptor):
        fsync(descriptor)
        events.append(("fsync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    def renamed(path, target):
        events.append(("rename", path.stat().st_ino, path.stat().st_size))
        return replace(path, target)

    monkeypatch.setattr(checkpoint_module.os, "fsync", synchronised)
    monkeypatch.setattr(Path, "replace", renamed)
    path = tmp_path / "log.checkpoint"
    checkpoint_module.Checkpoint(path, {}, [np.zeros(3)]).write({}, {})
    file = path.stat()
    assert events == [(name, file.st_ino, file.st_size) for name in ("fsync", "rename")]


def test_names_and_bytes_make_the_digest():
    """Samples that differ in a name, a shape or a bit are others."""
    x = np.linspace(1, 2, 4)
    tables = [
        Samples(x, x),
        Samples({"a": x}, x),
        Samples(x.reshape(2, 2), x[:2]),
        Samples(x, np.nextafter(x, 3)),
    ]
    assert len({digest_of(samples.arrays()) for samples in tables}) == 4
    assert digest_of(tables[0].arrays()) == digest_of(Samples(x, x).arrays())
