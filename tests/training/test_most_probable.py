"""Networks compared by their evidence: which fit is found, and what is not compared."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import Samples, Sobolev, Value, mlp, with_noise
from gradwire_training._jacobian import residuals_of
from gradwire_training._progress import Monitor
from gradwire_training.networks import _evidence
from gradwire_training.networks._evidence import most_probable
from gradwire_training.optimizers._bayes import Bayes
from gradwire_training.optimizers._folds import weights_of

KINDS = (3,), (4, 4)


@pytest.fixture(scope="module")
def rows():
    """Eighty values of two inputs with 10 % noise."""
    x = np.random.default_rng(0).uniform(-1, 1, (80, 2))
    return with_noise(Samples({"x": x}, {"f": np.sin(2 * x[:, :1]) + x[:, 1:] ** 2}), 0.1)


@pytest.fixture
def compared(rows, objective):
    """Compares networks of two sizes."""

    def model(widths, start):
        return mlp(inputs={"x": 2}, outputs={"f": 1}, widths=widths, activation="tanh", seed=start, scale=rows)

    def start(widths, number):
        return weights_of(model(widths, number).trainable_variables)

    objectives = {widths: objective(model(widths, 0), rows, Value()) for widths in KINDS}

    def compare(monitor=None):
        return most_probable(objectives, start, monitor or Monitor(1, ()))

    compare.objectives, compare.start = objectives, start
    return compare


@pytest.mark.slow
def test_the_fit_with_the_largest_evidence_is_found(compared):
    """Of all networks and starts, as fits of each to the end tell; the others that went on are in its order."""
    evidence = compared()
    assert (evidence.fits, evidence.is_whole) == (16, True)
    known = {}
    for widths, whole in compared.objectives.items():
        for number in range(8):
            posterior = Bayes().descent(residuals_of(whole), whole, compared.start(widths, number))
            for _ in range(Bayes.steps):
                posterior.step()
            known[widths, number] = posterior.evidence
    assert known[evidence.best[0]] > max(known.values()) - 2
    assert len(evidence.best) == 3
    assert known[evidence.best[0]] >= known[evidence.best[2]] - 0.5


@pytest.mark.slow
def test_it_is_repeated_to_the_start(compared):
    """The same rows give the same fits in the same order."""
    assert compared() == compared()


def test_callbacks_hear_of_it_and_time_ends_it(compared):
    """Before any estimate nothing is known; one that stops it leaves nothing."""
    assert compared(Monitor(1, (), seconds=1e-9)) is None
    heard = []

    def stop(now):
        heard.append(now.optimizer)
        return True

    monitor = Monitor(1, [stop])
    monitor._consulted = -np.inf
    assert compared(monitor) is None
    assert heard == ["choosing by held-out rows"]


def test_what_takes_long_is_told_by_fewer_starts_then_networks_then_rows(compared, monkeypatch):
    """A network of few weights is compared on more rows rather than a larger one on fewer."""
    small, large = (_evidence._work(whole) * 80 * _evidence.FIRST_STEPS for whole in compared.objectives.values())
    monkeypatch.setattr(_evidence, "OVERHEAD", 0.0)
    monkeypatch.setattr(_evidence, "WORK", 2.1 * (small + large))
    assert compared().fits == 4  # two starts
    monkeypatch.setattr(_evidence, "WORK", 2.1 * small)
    evidence = compared()
    assert {widths for widths, _ in evidence.best} == {(3,)}
    assert evidence.is_whole
    monkeypatch.setattr(_evidence, "WORK", 1.5 * small)
    assert compared() is None  # 60 rows are too few
    monkeypatch.setattr(_evidence, "FEWEST_ROWS", 50)
    monkeypatch.setattr(_evidence, "SLACK", 0.1)
    assert not compared().is_whole
    monkeypatch.setattr(_evidence, "SLACK", 100.0)
    assert compared() is None  # all rows would tell more weights than it has


def test_what_bayes_does_not_suit_is_not_compared(rows, objective):
    """Nothing is, for signs that are to be kept."""
    model = mlp(inputs={"x": 2}, outputs={"f": 1}, widths=(3,), scale=rows)
    whole = objective(model, rows, Value(monotone="f:x+"))
    assert most_probable({"one": whole}, lambda *_: None, Monitor(1, ())) is None


def test_slopes_are_evidence_too(objective):
    """The network of one unit cannot have them."""
    x = np.linspace(-1, 1, 40)
    rows = with_noise(Samples(x, np.sin(4 * x), 4 * np.cos(4 * x)), 0.05)

    def model(widths, start):
        return mlp(inputs={"x": 1}, outputs={"f": 1}, widths=widths, activation="tanh", seed=start, scale=rows)

    evidence = most_probable(
        {widths: objective(model(widths, 0), rows, Sobolev()) for widths in ((1,), (5,))},
        lambda widths, number: weights_of(model(widths, number).trainable_variables),
        Monitor(1, ()),
    )
    assert evidence.best[0][0] == (5,)
