"""What a fit leaves on disk, and fitting again from it."""

from __future__ import annotations

import csv
import json

import keras
import numpy as np
import pytest

from gradwire._errors import PackageError
from gradwire._package.card import CardTensor
from gradwire_training import Derivative, Samples, fit, mlp, optimizers, repeat
from gradwire_training._fit.record import require_target


@pytest.fixture
def saved(quick, tmp_path):
    """The quick fit, saved."""
    return quick.save(tmp_path / "build" / "quick")


def _record(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((path / "fit.json").read_text(), parse_constant=refuse)


def test_a_result_is_a_directory_of_six_files(saved):
    """Only the finished directory is there, readable by others, and nothing temporary beside it."""
    names = {"fit.json", "history.csv", "model.keras", "samples.npz", "start.npz", "uncertainty.keras"}
    assert {entry.name for entry in saved.iterdir()} == names
    assert [entry.name for entry in saved.parent.iterdir()] == ["quick"]
    assert saved.stat().st_mode & 0o777 == 0o755


def test_the_record_describes_inputs_and_outputs_as_a_card_does(saved):
    """Names, dtypes, row shapes, units, and the box that the samples covered."""
    record = _record(saved)
    assert (record["format"], record["name"]) == (1, "log")
    (x,), (f,) = record["inputs"], record["outputs"]
    assert set(x) == set(f) == set(CardTensor.__dataclass_fields__)
    assert (x["name"], x["dtype"], x["shape"], x["unit"]) == ("x", "float32", [1], "1")
    np.testing.assert_allclose([x["domain"]["lower"], x["domain"]["upper"]], [[0.1], [1.9]])
    assert (f["name"], f["domain"]) == ("f", None)


def test_the_record_tells_how_it_was_trained(saved, quick):
    """Everything that decides a fit is in it."""
    trained = _record(saved)["trained"]
    expected = {
        "problem": "log",
        "loss": {
            "name": "sobolev",
            "value_weight": None,
            "derivative_weight": None,
            "balanced": True,
            "pins": None,
            "huber": None,
            "relative": None,
            "monotone": None,
            "bounds": None,
        },
        "story": "lm: 481 weights and 38 labels, few enough for it",
        "optimizer": {"name": "auto", **optimizers.Auto().settings()},
        "seed": 3,
        "dtype": "float32",
        "training_dtype": "float64",
        "status": "completed",
        "steps": 70,
        "steps_asked": 70,
        "final_loss": quick.loss,
    }
    assert {key: trained[key] for key in expected} == expected
    assert (trained["samples"]["count"], trained["samples"]["spacing"]) == (19, "linear")
    assert trained["network"]["parameters"] == 481
    assert trained["versions"]["keras"] == keras.__version__
    assert _record(saved)["errors"] == quick.errors


def test_the_history_is_a_table(saved, quick):
    """One line a step."""
    with (saved / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "loss", "mae", "optimizer"]
    np.testing.assert_array_equal([float(row["loss"]) for row in rows], quick.history["loss"])


def test_the_model_is_the_fitted_one(saved, quick):
    """The Keras file gives the same numbers to the last bit."""
    x = np.linspace(0.1, 1.9, 7, dtype=np.float32)[:, None]
    model = keras.models.load_model(saved / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model(x), quick.model(x))


def test_a_result_replaces_a_result_alone(saved, quick):
    """An older result goes, and with it what lay in it; anything else is refused and stays."""
    (saved / "old.txt").write_text("of the older result")
    quick.save(saved)
    assert not (saved / "old.txt").exists()
    other = saved.parent / "other"
    other.mkdir()
    (other / "mine.txt").write_text("precious")
    for place in (other, other / "mine.txt"):
        with pytest.raises(PackageError, match=r"exists and is not what is to be written \(it has no fit.json\)"):
            quick.save(place)
    assert (other / "mine.txt").read_text() == "precious"
    assert {entry.name for entry in saved.parent.iterdir()} == {"quick", "other"}


def test_a_place_can_be_asked_for_before_the_fit(saved, tmp_path):
    """What could not be saved after hours is refused before them, and asking leaves nothing behind."""
    require_target(saved)
    require_target(tmp_path / "new")
    (tmp_path / "file").write_text("")
    for taken in (tmp_path / "file", tmp_path / "file" / "below", tmp_path):
        with pytest.raises(PackageError, match="give"):
            require_target(taken)
    assert {path.name for path in tmp_path.iterdir()} == {"file", saved.parent.name}


def test_a_link_is_not_followed(saved, quick):
    """Replacing through a link would leave the link's target behind: it is refused."""
    link = saved.parent / "link"
    link.symlink_to(saved)
    with pytest.raises(PackageError, match="exists and is not what is to be written"):
        quick.save(link)


def test_a_place_that_cannot_be_written_is_refused(quick, tmp_path):
    """A parent that is a file leaves nothing behind."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"cannot write .*give a place that can be written"):
        quick.save(tmp_path / "file" / "log")


def test_a_failed_write_leaves_the_old_result(saved, quick, monkeypatch):
    """When the disk fills in the middle, the old result is still whole and nothing half-written is left."""
    before = (saved / "fit.json").read_bytes()

    def full(*_arguments, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(PackageError, match="No space left on device"):
        quick.save(saved)
    assert (saved / "fit.json").read_bytes() == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["quick"]


def test_a_fit_is_repeated_from_its_record(saved, quick):
    """The same samples, initial weights, settings and seed end at the same loss."""
    again = repeat(saved)
    np.testing.assert_allclose(again.loss, quick.loss, rtol=1e-12)
    np.testing.assert_allclose(again.history["loss"], quick.history["loss"], rtol=1e-12)
    assert again.errors["against"] == quick.errors["against"]


@pytest.mark.slow
def test_a_fit_of_ones_own_is_repeated_too(pair_samples, tmp_path):
    """Own samples, several inputs, pins, and initial weights that no seed gives are in the files."""
    pins = Samples({"a": [[0.0, 0.0]], "b": [0.0]}, {"price": [0.0], "pair": [[0.0, 0.0]]})
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(3,))
    model.set_weights([weight * 0.9 for weight in model.get_weights()])
    sgd = optimizers.Sgd(learning_rate=0.05)
    first = fit(model, pair_samples, loss=Derivative(pins), optimizer=sgd, steps=30, dtype="float64")
    path = first.save(tmp_path / "mine")
    record = _record(path)
    assert record["name"] == "mine"
    assert [(entry["name"], entry["shape"]) for entry in record["inputs"]] == [("a", [2]), ("b", [1])]
    assert record["trained"]["problem"] is None
    again = repeat(path)
    np.testing.assert_allclose(again.history["loss"], first.history["loss"], rtol=1e-12)


BROKEN = {
    "no directory": lambda path: path.rename(path.parent / "elsewhere"),
    "no record": lambda path: (path / "fit.json").unlink(),
    "no JSON": lambda path: (path / "fit.json").write_text("{"),
    "no samples": lambda path: (path / "samples.npz").unlink(),
    "broken samples": lambda path: (path / "samples.npz").write_bytes(b"PK\x03\x04 no"),
    "broken model": lambda path: (path / "model.keras").write_bytes(b"no"),
    "no trained": lambda path: (path / "fit.json").write_text('{"format": 1}'),
}


@pytest.mark.parametrize("harm", BROKEN.values(), ids=BROKEN)
def test_a_broken_result_is_not_repeated(saved, harm):
    """A directory that is not a whole result is refused."""
    harm(saved)
    with pytest.raises(PackageError, match=r"is not the result of a fit .*give a directory that a fit saved"):
        repeat(saved)


def test_a_newer_record_is_refused(saved):
    """A format that this version does not know is not guessed at."""
    record = _record(saved) | {"format": 99}
    (saved / "fit.json").write_text(json.dumps(record))
    with pytest.raises(PackageError, match=r"has format 99, expected at most 1: update gradwire"):
        repeat(saved)
