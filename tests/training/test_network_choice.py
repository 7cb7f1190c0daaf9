"""The network where none was given: evidence and held-out rows choose its size, activation and initial weights."""

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
from gradwire_training.networks._evidence import Evidence
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
    monkeypatch.setattr(_choice, "SMALL", SMALL[:2])


@pytest.fixture
def told(monkeypatch):
    """Gives every network an error by its widths, and the default one of its own with a ridge; no evidence."""

    def tell(errors, *, with_ridge=None, is_final=True):
        measured = []

        def stopped(objective, monitor, parts):
            *hidden, _ = [layer for layer in objective.model.layers if hasattr(layer, "units")]
            kind = tuple(layer.units for layer in hidden)
            measured.append(kind)
            error = errors.get(kind)
            return None if error is None else HeldOutError((error,) * len(parts), is_final)

        def ridged(objective, monitor, parts):
            return HeldOutError((errors[20, 20] if with_ridge is None else with_ridge,) * len(parts), is_final)

        monkeypatch.setattr(_choice, "error_along_path", ridged)
        monkeypatch.setattr(_choice, "error_at_stop", stopped)
        monkeypatch.setattr(_choice, "most_probable", lambda *_: None)
        return measured

    return tell


@pytest.fixture
def probable(monkeypatch):
    """Makes 8,8 the network with the largest evidence, at its third start, and gives such fits an error."""

    def tell(error, *, is_whole=True):
        evidence = Evidence(((((8, 8), "tanh"), 2), (((12, 12), "tanh"), 0)), fits=9, is_whole=is_whole)
        monkeypatch.setattr(_choice, "most_probable", lambda *_: evidence)
        monkeypatch.setattr(_choice, "held_out_errors", lambda _, monitor, parts: (error,) * len(parts))

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
def test_the_network_that_is_chosen_is_ahead(chosen, valley):
    """Of the default network, fitted as auto does: against the truth an eighth of its error less, at least."""
    problem = problems.get("rosenbrock")
    x = problem.truth.test_points(1_000)
    truth = Samples(x, problem.truth.f(x))
    default = mlp(inputs={"x": 2}, outputs={"f": 1}, scale=valley)
    ours, theirs = (
        fit(model, valley, loss=Value(), dtype="float64", validation=truth).errors["f"]["rmse"]
        for model in (chosen, default)
    )
    assert chosen.with_priors
    assert 8 * ours < 7 * theirs


@pytest.mark.slow
def test_the_choice_is_told_with_its_numbers_and_kept(chosen, valley, tmp_path):
    """In front of what auto says, in the record, and when the fit is repeated."""
    widths = ",".join(map(str, chosen.widths))
    assert chosen.reason.startswith(
        f"network {widths} {chosen.activation}: of 40 fits of small networks it makes the labels most probable, and such "
        "fits predict 60 rows, each held out once, to "
    )
    assert " of the labels' spread (20,20 sigmoid to " in chosen.reason
    result = fit(chosen, valley, loss=Value(), steps=5)
    assert result.selection_reason.startswith(f"{chosen.reason}; bayes: as the network was chosen; ")
    assert set(result.history["optimizer"]) == {"bayes"}
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
    [({(8, 8): 0.9, (32, 32): 0.8}, (32, 32)), ({(8, 8): 0.96}, (20, 20)), ({(8, 8): None}, (20, 20))],
)
def test_without_evidence_the_default_is_left_for_a_clear_gain(told, errors, expected):
    """A twentieth of its error; a network that could not be measured is not taken."""
    told({(20, 20): 1.0, **errors})
    assert networks.choose(_noisy(), loss=Value(), activation="tanh").widths == expected


def test_evidence_chooses_unless_the_default_predicts_clearly_better(told, probable):
    """With a ridge, or where L-BFGS stops: the fit would take the better of the two."""
    told({(20, 20): 0.7}, with_ridge=0.8)
    probable(0.8)
    chosen = networks.choose(_noisy(), loss=Value(), activation="tanh", seed=4)
    assert (chosen.widths, chosen.start, chosen.with_priors) == ((8, 8), 2, True)
    assert chosen.reason == (
        "network 8,8 tanh: of 9 fits of small networks it makes the labels most probable, and such fits predict 60 rows, "
        "each held out once, to 80 % of the labels' spread (20,20 tanh to 70 %)"
    )
    for error in (0.85, 1.0):
        probable(error)
        kept = networks.choose(_noisy(), loss=Value(), activation="tanh")
        assert (kept.widths, kept.start, kept.with_priors) == ((20, 20), 0, False)
    assert kept.reason == (
        "network 20,20 tanh: of 9 fits of small networks those that make the labels most probable predict 60 rows, each "
        "held out once, clearly worse, to 100 % of the labels' spread (20,20 tanh to 70 %)"
    )


def test_lbfgs_is_not_asked_where_evidence_is_far_ahead(told, probable):
    """It is hardly ever so far below a ridge."""
    measured = told({(20, 20): 0.1}, with_ridge=0.8)
    probable(0.5)
    assert networks.choose(_noisy(), loss=Value(), activation="tanh").widths == (8, 8)
    assert measured == []


def test_evidence_chooses_alone_where_time_leaves_no_more(told, probable, monkeypatch):
    """The default network would need more time than is left."""
    told({(20, 20): 0.1}, with_ridge=0.1)
    probable(0.8)
    monkeypatch.setattr(_choice, "held_out_errors", lambda *_: None)
    chosen = networks.choose(_noisy(), loss=Value(), activation="tanh")
    assert (chosen.widths, chosen.start, chosen.with_priors) == ((8, 8), 2, True)
    assert chosen.reason == (
        "network 8,8 tanh: of 9 fits of small networks it makes the labels most probable; there was no time to measure such "
        "fits on rows held out"
    )


def test_evidence_of_some_rows_leaves_the_optimiser_to_auto(told, probable):
    """The network is known by it, how to fit all rows is not."""
    told({(20, 20): 0.8})
    probable(0.8, is_whole=False)
    chosen = networks.choose(_noisy(), loss=Value(), activation="tanh")
    assert (chosen.widths, chosen.with_priors) == ((8, 8), False)
    probable(0.8)
    assert not networks.choose(_noisy(2_500), loss=Value(), activation="tanh").with_priors


def test_no_other_is_compared_where_no_noise_is_seen(told):
    """Small networks would be ahead for having fewer weights to move."""
    measured = told({(20, 20): 0.01, (8, 8): 0.001}, is_final=False)
    chosen = networks.choose(_noisy(), loss=Value(), activation="tanh")
    assert measured == []
    assert chosen.reason == (
        "network 20,20 tanh: no noise is seen that would speak for another, and it predicts 60 rows, each held out once, "
        "to 1 % of the labels' spread"
    )


def test_some_of_many_rows_choose(told):
    """Two thousand, and no smaller network: all of them bear a larger one than these."""
    measured = told({(20, 20): 1.0, (8, 8): 0.1, (32, 32): 0.7})
    chosen = networks.choose(_noisy(2_500), loss=Value(), activation="tanh")
    assert measured == [(20, 20), (32, 32)]
    assert "it predicts 400 of 2,000 rows, held out, best" in chosen.reason


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_choice_is_repeated():
    """The same network with the same weights, by the same numbers."""
    samples = _noisy(30)
    one, other = (networks.choose(samples, loss=Value(), seed=3) for _ in range(2))
    assert one.reason == other.reason != ""
    for first, second in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(first, second)
    seed = _choice.seed_of_start(3, one.start)
    built = mlp(
        inputs={"x": 2}, outputs={"f": 1}, widths=one.widths, activation=one.activation, seed=seed, scale=samples
    )
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


@pytest.mark.slow
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


@pytest.mark.slow
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
