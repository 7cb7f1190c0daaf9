"""The network where none was given: held-out rows choose its size and its activation."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from gradwire import PackageError, UsageError
from gradwire_training import (
    Derivative,
    Samples,
    Sobolev,
    Stream,
    Value,
    fit,
    mlp,
    networks,
    problems,
    repeat,
    with_noise,
)
from gradwire_training._progress import Monitor, checkpoint
from gradwire_training.networks import _choice
from gradwire_training.optimizers._folds import folds_of
from gradwire_training.optimizers._held_out import HeldOutError, error_along_path
from gradwire_training.optimizers._ridges import choose_ridge

DEFAULT = ((20, 20), "sigmoid")
SMALL = ((2,), "tanh"), ((4,), "tanh"), ((1,), "tanh")  # candidates of a few weights, the default first


def _kind(chosen):
    return chosen.widths, chosen.activation


def _noisy(rows=60):
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 2))
    f = np.sin(2 * x[:, :1]) + x[:, 1:] ** 2
    return with_noise(Samples({"x": x}, {"f": f}), 0.1)


@pytest.fixture
def small(monkeypatch):
    """Compares networks of a few weights."""
    monkeypatch.setattr(_choice, "CANDIDATES", SMALL)


@pytest.fixture
def told(monkeypatch):
    """Gives every network an error by its widths and activation; those of no error cannot be measured."""

    def tell(errors, *, is_final=True, stop=None):
        measured = []

        def measure(objective, monitor, parts):
            *hidden, _ = [layer for layer in objective.model.layers if hasattr(layer, "units")]
            kind = tuple(layer.units for layer in hidden), hidden[0].activation.__name__
            measured.append(kind)
            error = errors.get(kind)
            by_fold = error if isinstance(error, tuple) else (error,) * len(parts)
            return None if error is None else HeldOutError(by_fold, is_final)

        monkeypatch.setattr(_choice, "error_along_path", measure)
        stopped = None if stop is None else HeldOutError((stop,), is_final=True)
        monkeypatch.setattr(_choice, "error_at_stop", lambda *_: stopped)
        return measured

    return tell


@pytest.fixture(scope="module")
def valley():
    """Sixty noisy values of Rosenbrock's function, on which networks differ by a factor of two."""
    return with_noise(problems.get("rosenbrock").samples(60), 0.01)


@pytest.fixture(scope="module")
def chosen(valley):
    """Its network, chosen."""
    return networks.choose(valley, loss=Value())


@pytest.mark.slow
def test_the_network_that_rows_held_out_choose_is_ahead(chosen, valley):
    """A small one of softplus units: against the truth a sixth of the default network's error less, at least."""
    problem = problems.get("rosenbrock")
    x = problem.truth.test_points(1_000)
    truth = Samples(x, problem.truth.f(x))
    default = mlp(inputs={"x": 2}, outputs={"f": 1}, scale=valley)
    ours, theirs = (
        fit(model, valley, loss=Value(), dtype="float64", validation=truth).errors["f"]["rmse"]
        for model in (chosen, default)
    )
    assert _kind(chosen) == ((8, 8), "softplus")
    assert 6 * ours < 5 * theirs


@pytest.mark.slow
def test_the_choice_is_told_with_its_numbers_and_kept(chosen, valley, tmp_path):
    """In front of what auto says, in the record, and when the fit is repeated."""
    assert chosen.reason.startswith(
        "network 8,8 softplus: of 5 networks it predicts 60 rows, each held out once, best, to "
    )
    assert " of the labels' spread (20,20 sigmoid to " in chosen.reason
    result = fit(chosen, valley, loss=Value(), steps=5)
    assert result.selection_reason == f"{chosen.reason}; lm: 105 weights and 60 labels, few enough for it"
    assert result.seconds > chosen.seconds
    record = json.loads((result.save(tmp_path / "valley") / "fit.json").read_text())["trained"]
    assert record["story"] == result.selection_reason
    assert record["network"]["chosen"] == chosen.settings()
    assert repeat(tmp_path / "valley").selection_reason == result.selection_reason
    alone = fit(chosen, valley, loss=Value(), steps=5, optimizer="lm")
    assert alone.selection_reason == chosen.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "loss"), [("log", 19, Sobolev()), ("rosenbrock", 200, Sobolev()), ("rosenbrock", 60, Value())]
)
def test_exact_labels_lose_nothing(name, rows, loss):
    """The fit of the chosen network has at most 1.1 times the error of the default network's."""
    problem = problems.get(name)
    samples = problem.samples(rows)
    chosen = networks.choose(samples, loss=loss)
    if _kind(chosen) == DEFAULT:
        return
    shapes = ({key: column.shape[1:] for key, column in table.items()} for table in (samples.x, samples.y))
    inputs, outputs = shapes
    default = mlp(inputs=inputs, outputs=outputs, scale=samples)
    ours, theirs = (fit(model, samples, loss=loss, dtype="float64").errors["f"]["rmse"] for model in (chosen, default))
    assert ours < 1.1 * theirs


def test_the_error_is_that_of_a_path_of_ridges(objective):
    """The smallest one along it, on the same folds."""
    samples = _noisy(200)
    model = mlp(inputs={"x": 2}, outputs={"f": 1}, widths=(6,), scale=samples)
    whole = objective(model, samples, Value())
    parts, _ = folds_of(whole)
    before = whole.snapshot()
    error = error_along_path(whole, Monitor(1, ()), parts)
    choice = choose_ridge(whole, Monitor(1, ()), damping=1e-3, steps=3_000)
    assert error.mean == pytest.approx(choice.error)
    assert len(error.by_fold) == 5
    assert error.is_final
    for one, other in zip(before, whole.snapshot(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_that_more_steps_would_meet_are_not_final(objective, log):
    """Exact ones, whose error falls to the end of the path."""
    samples = log.samples()
    whole = objective(mlp(inputs={"x": 1}, outputs={"f": 1}, scale=samples), samples, Sobolev())
    parts, _ = folds_of(whole)
    assert not error_along_path(whole, Monitor(1, ()), parts[:5]).is_final


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({(8, 8): 0.9, (32, 32): 0.8}, (32, 32)),
        ({(8, 8): (0.93, 1.01, 0.94, 1.02, 0.95)}, (20, 20)),  # no clear gain
        ({(8, 8): (0.97, 0.98, 0.97, 0.98, 0.97)}, (8, 8)),  # a small one, the same on every fold
        ({(8, 8): None}, (20, 20)),
    ],
)
def test_the_default_is_left_for_a_clear_gain(told, errors, expected):
    """A twentieth, or what all folds agree on; a network that could not be measured is not taken."""
    told({((20, 20), "tanh"): 1.0, **{(widths, "tanh"): error for widths, error in errors.items()}}, stop=2.0)
    assert networks.choose(_noisy(), loss=Value(), activation="tanh").widths == expected


def test_lbfgs_speaks_for_the_default(told):
    """The fit would take it where it stops ahead of every ridge: the other network has to be ahead of that, too."""
    errors = {((20, 20), "tanh"): 1.0, ((8, 8), "tanh"): 0.5}
    told(errors, stop=0.51)
    kept = networks.choose(_noisy(), loss=Value(), activation="tanh")
    assert kept.reason == (
        "network 20,20 tanh: none of 1 others predicts 60 rows, each held out once, clearly better than it does, "
        "to 51 % of the labels' spread (8,8 tanh to 50 %)"
    )
    told(errors, stop=0.6)
    assert networks.choose(_noisy(), loss=Value(), activation="tanh").widths == (8, 8)


def test_no_other_is_compared_where_no_noise_is_seen(told):
    """Small networks would be ahead for having fewer weights to move."""
    measured = told({((20, 20), "tanh"): 0.01, ((8, 8), "tanh"): 0.001}, is_final=False)
    chosen = networks.choose(_noisy(), loss=Value(), activation="tanh")
    assert measured == [((20, 20), "tanh")]
    assert chosen.reason == (
        "network 20,20 tanh: no noise is seen that would speak for another, and it predicts 60 rows, each held out once, "
        "to 1 % of the labels' spread"
    )


def test_some_of_many_rows_choose(told):
    """Two thousand, and no smaller network: all of them bear a larger one than these."""
    measured = told({((20, 20), "tanh"): 1.0, ((8, 8), "tanh"): 0.1, ((32, 32), "tanh"): 0.7}, stop=2.0)
    chosen = networks.choose(_noisy(2_500), loss=Value(), activation="tanh")
    assert measured == [((20, 20), "tanh"), ((32, 32), "tanh")]
    assert "it predicts 400 of 2,000 rows, held out, best" in chosen.reason


@pytest.mark.usefixtures("small")
def test_the_choice_is_repeated():
    """The same network with the same weights, by the same numbers."""
    samples = _noisy(30)
    one, other = (networks.choose(samples, loss=Value(), seed=3) for _ in range(2))
    assert one.reason == other.reason != ""
    for first, second in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(first, second)
    built = mlp(inputs={"x": 2}, outputs={"f": 1}, widths=one.widths, activation=one.activation, seed=3, scale=samples)
    for first, second in zip(one.model.weights, built.weights, strict=True):
        np.testing.assert_array_equal(first, second)


def test_what_tells_nothing_leaves_the_default_without_a_word():
    """Few rows, short fits, no time."""
    for rows, settings in ((14, {}), (60, {"steps": 99}), (60, {"seconds": 1e-9})):
        chosen = networks.choose(_noisy(rows), loss=Value(), **settings)
        assert (_kind(chosen), chosen.reason) == (DEFAULT, "")
    with pytest.raises(UsageError, match="0 seconds, expected a number above 0"):
        networks.choose(_noisy(), seconds=0)


@pytest.mark.usefixtures("small")
def test_callbacks_hear_of_the_choice_and_can_end_it(monkeypatch):
    """They hear which network is measured; it then is the default."""
    monkeypatch.setattr("gradwire_training._progress.monitor.CONSULT_SECONDS", 0.0)
    heard = []

    def stop(now):
        heard.append((now.optimizer, now.step))
        return now.step == 1

    chosen = networks.choose(_noisy(), loss=Value(), callbacks=[stop])
    assert (_kind(chosen), chosen.reason) == (SMALL[0], "")
    assert heard[0] == ("choosing by held-out rows", 0)
    assert heard[-1] == ("choosing by held-out rows", 1)


@pytest.mark.usefixtures("small")
def test_the_time_of_the_choice_is_part_of_the_fits(valley):
    """What is left of the seconds is the fit's."""
    chosen = networks.choose(valley, loss=Value(), seconds=1e-9)
    spent = networks.ChosenNetwork.of(chosen.model, chosen.settings() | {"seconds": 20.0})
    result = fit(spent, valley, loss=Value(), optimizer="lm", seconds=20.0)
    assert "the time was up" in result.message
    assert result.seconds >= 20


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.usefixtures("small")
def test_a_fit_that_was_killed_has_its_network_again(tmp_path, monkeypatch):
    """It is in the checkpoint, and nothing is compared."""
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr("gradwire_training.optimizers._reporting.REPORT_SECONDS", 0.0)
    samples, path = _noisy(30), tmp_path / "fit.checkpoint"
    chosen = networks.choose(samples, loss=Value(), seconds=60)

    def kill(now):
        if now.step == 20:
            raise Killed

    settings = {"loss": Value(), "optimizer": "lm", "steps": 60, "checkpoint": path}
    with pytest.raises(Killed):
        fit(chosen, samples, callbacks=[kill], **settings)
    monkeypatch.setattr(_choice, "CANDIDATES", ((DEFAULT),))
    again = networks.choose(samples, loss=Value(), seconds=60, checkpoint=path)
    assert again.settings() == chosen.settings()
    resumed = fit(again, samples, resume=True, **settings)
    assert resumed.selection_reason == chosen.reason
    assert resumed.loss == fit(chosen, samples, **settings).loss
    assert not path.exists()
    assert _kind(networks.choose(samples, loss=Value(), steps=9, checkpoint=path)) == DEFAULT
    path.write_bytes(b"no checkpoint")
    with pytest.raises(PackageError, match="is not a checkpoint"):
        networks.choose(samples, checkpoint=path)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["pins", "weights", "missing", "outputs", "reduce"])
def test_all_rows_that_can_be_fitted_choose(name, log, pair_samples):
    """Pinned losses, weights of rows, missing labels, several inputs and outputs, and components."""
    samples, loss, layers = log.samples(), Sobolev(), {}
    match name:
        case "pins":
            loss = Derivative(log.pins)
        case "weights":
            samples = _noisy(30).weighted(np.arange(30.0))
            loss = Value()
        case "missing":
            y, dydx = samples.y["f"].copy(), samples.dydx["f"]["x"].copy()
            y[::3], dydx[1::3] = math.nan, math.nan
            samples = Samples(samples.x, {"f": y}, {"f": {"x": dydx}})
        case "outputs":
            samples = pair_samples
        case _:
            x = np.random.default_rng(0).uniform(-1, 1, (30, 3))
            samples = Samples(
                {"x": x}, {"f": np.sin(x @ np.ones(3))}, {"f": {"x": np.cos(x @ np.ones(3))[:, None] * np.ones(3)}}
            )
            layers = {"reduce": 1}
    chosen = networks.choose(samples, loss=loss, **layers)
    assert bool(chosen.reason) == (name != "outputs")  # of 12 rows
    assert fit(chosen, samples, loss=loss, steps=5).status == "completed"


@pytest.mark.slow
def test_signs_choose_by_lbfgs(monkeypatch):
    """Which lm does not honour."""
    monkeypatch.setattr(_choice, "CANDIDATES", SMALL[:2])
    x = np.linspace(-1, 1, 40)
    chosen = networks.choose(with_noise(Samples(x, np.tanh(3 * x)), 0.2), loss=Value(monotone="f:x+"))
    assert " 16 of 40 rows, held out, " in chosen.reason


@pytest.mark.usefixtures("small")
def test_what_time_ended_tells_nothing(monkeypatch):
    """A network whose error was still falling is none that was measured."""
    late = HeldOutError((1.0, 1.0), is_final=False)
    monkeypatch.setattr(_choice, "error_along_path", lambda *_: late)
    assert networks.choose(_noisy(), loss=Value()).reason.startswith("network 2 tanh: no noise is seen")
    monkeypatch.setattr(Monitor, "time_is_up", True)
    assert networks.choose(_noisy(), loss=Value(), seconds=60).reason == ""


@pytest.mark.usefixtures("small")
def test_rows_of_a_stream_choose(tmp_path):
    """Those that it holds in memory."""
    x = np.linspace(-1, 1, 40)
    pd.DataFrame({"x": x, "f": np.tanh(3 * x)}).to_parquet(tmp_path / "rows.parquet")
    stream = Stream(tmp_path / "rows.parquet", inputs=["x"], outputs=["f"], holdout=0)
    chosen = networks.choose(stream, loss=Value())
    assert " 40 rows, each held out once, " in chosen.reason
    assert fit(chosen, stream, loss=Value(), steps=5).status == "completed"
