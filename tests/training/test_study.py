"""Error against number of samples, with derivatives and without."""

from __future__ import annotations

import csv
import json
import sys
from typing import get_args

import pytest

from gradwire._cli.choices import Measure, OptimizerName
from gradwire._cli.commands import study as command_module
from gradwire._errors import PackageError, UsageError
from gradwire_training import Study, study
from gradwire_training._report.study import Measure as Known
from gradwire_training._report.study import Trial


def _trial(loss, samples, seed, error):
    return Trial(
        loss,
        samples,
        seed,
        0.5,
        "completed",
        {"f": {"max": error, "rmse": None if error is None else error / 2}},
    )


@pytest.fixture
def made():
    """A study made by hand: three seeds, one of them without a finite prediction."""
    trials = [
        *(_trial("value", 5, seed, error) for seed, error in enumerate((0.4, 0.1, 0.2))),
        *(_trial("sobolev", 5, seed, error) for seed, error in enumerate((0.02, 0.08, 0.05))),
        *(_trial("value", 10, seed, error) for seed, error in enumerate((0.1, None, 0.1))),
        *(_trial("sobolev", 10, seed, error) for seed, error in enumerate((0.01, 0.01, 0.01))),
    ]
    return Study(problem="made<up>", formula="log x", measure="max", settings={"seeds": 3}, trials=tuple(trials))


@pytest.fixture(scope="module")
def real(log):
    """Short fits of the logarithm, and what the callback heard."""
    heard = []
    studied = study(
        log,
        samples=[10, 5, 5],
        seeds=2,
        optimizer="lm",
        steps=60,
        callback=lambda *said: heard.append(said),
    )
    return studied, heard


def test_every_number_of_samples_is_fitted_with_each_loss_from_each_seed(real):
    """In order of the samples, each number once; the callback hears of each fit before it."""
    studied, heard = real
    assert [(trial.samples, trial.loss, trial.seed) for trial in studied.trials] == [
        (count, loss, seed) for count in (5, 10) for loss in ("value", "sobolev") for seed in (0, 1)
    ]
    assert heard[0] == (0, 8, "value, 5 samples, seed 0")
    assert len(heard) == 8


def test_derivatives_are_worth_samples(real):
    """At as many points of the logarithm, a fit of values and derivatives has the smaller errors, in both."""
    studied, _ = real
    assert [(line.tensor, line.samples) for line in studied.lines()] == [
        ("f", 5),
        ("f", 10),
        ("df_dx", 5),
        ("df_dx", 10),
    ]  # fmt: skip - as the table has it
    assert all(line.gain > 2 for line in studied.lines())


def test_the_table_has_medians_and_ranges(made):
    """Of the seeds; where one has no finite prediction there is no number, and no gain."""
    first, second = made.lines()
    assert [str(first.spreads[loss]) for loss in ("value", "sobolev")] == [
        "0.2 (0.1 to 0.4)",
        "0.05 (0.02 to 0.08)",
    ]
    assert first.gain == pytest.approx(4.0)
    assert (second.spreads["value"], second.gain) == (None, None)


def test_samples_with_derivatives_are_compared_to_twice_as_many_without(made, real):
    """Where both were fitted and have finite predictions; the ratio of the medians."""
    studied, _ = real
    ((count, ratios),) = studied.halved()
    assert count == 5
    few, more = studied.spread("f", 5, "sobolev"), studied.spread("f", 10, "value")
    assert ratios["f"] == more.median / few.median
    assert made.halved() == []


def test_a_study_is_saved_as_table_record_plot_and_page(made, tmp_path):
    """All fits are in the table and the record; the page escapes names."""
    files = made.save(tmp_path / "study")
    assert [path.name for path in files] == ["study.csv", "study.json", "study.png", "study.html"]
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0] | {"max": "0.4", "rmse": "0.2", "tensor": "f", "loss": "value"} == rows[0]
    assert json.loads(files[1].read_text())["trials"][7]["errors"]["f"]["max"] is None
    page = files[3].read_text()
    assert "made&lt;up&gt;" in page
    assert "0.05 (0.02 to 0.08)" in page
    assert "<svg" in page


def test_a_study_that_cannot_be_written_is_refused(made, tmp_path):
    """A file where the directory should be is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match="give another place"):
        made.save(tmp_path / "file")


@pytest.mark.parametrize(("samples", "seeds"), [([], 1), ([0], 1), ([5], 0)])
def test_a_study_of_nothing_is_refused(log, samples, seeds):
    """Without samples or seeds there is nothing to study."""
    with pytest.raises(UsageError, match="expected 1 or more of each"):
        study(log, samples=samples, seeds=seeds)


def test_ctrl_c_ends_the_study(log, monkeypatch):
    """A fit that was interrupted keeps its weights; the study is not to go on with the next."""

    class Interrupted:
        status, errors, seconds = "interrupted", {}, 0.1

    monkeypatch.setattr(sys.modules[Study.__module__], "fit", lambda *_, **__: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        study(log, samples=[5], seeds=1)


@pytest.mark.slow
def test_the_command_prints_the_table_and_writes_the_files(capsys, tmp_path):
    """A line for each tensor and number of samples; the directory's name comes last on standard output."""
    words = {"optimizer": OptimizerName.LM, "max_steps": 3, "seeds": 1, "samples": "4,2"}
    command_module.command("log", to=tmp_path / "study", **words)
    said, told = capsys.readouterr()
    assert [line.split()[1:4:2] for line in said.splitlines() if "df_dx" in line] == [
        ["df_dx", "2"],
        ["df_dx", "4"],
    ]
    assert said.rstrip().endswith(str(tmp_path / "study"))
    assert "error ratio, 4 samples without derivatives to 2 with: f " in told
    assert (tmp_path / "study" / "study.png").is_file()


def test_the_measures_of_the_command_are_those_of_the_study():
    """A measure is added to both or to neither."""
    assert set(Measure) == set(get_args(Known))
