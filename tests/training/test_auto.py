"""What the default picks, and what it says."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire_training import Samples, Value, fit, mlp
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._auto import Auto, _pick
from gradwire_training.optimizers._lm import Lm


@pytest.fixture
def pick(objective):
    """Asks the default what it would take."""

    def ask(widths, rows, *, repeated=False):
        x = np.linspace(0, 1, rows)
        x[-1] = x[0] if repeated else x[-1]
        model = keras.Sequential([keras.Input((1,)), *(keras.layers.Dense(width) for width in widths)])
        problem = objective(model, Samples(x, np.arange(rows)), Value())
        return (*_pick(problem), Auto().steps_for(problem))

    return ask


def test_small_problems_get_levenberg_marquardt(pick):
    """The network of the reference blog post, and any whose step takes hundredths of a second."""
    assert pick((20, 20, 1), 19) == ("lm", "481 weights and 19 labels, few enough for it", Lm.steps)
    assert pick((20, 20, 1), 1_000)[0] == "lm"


def test_a_fit_of_lm_takes_some_seconds(pick):
    """The more work a step is, the fewer there are, down to 500."""
    counts = [pick((20, 20, 1), rows)[2] for rows in (19, 150, 1_000)]
    assert counts[0] > counts[1] > counts[2] == 500


def test_larger_ones_get_adam_and_lbfgs(pick):
    """Too many weights, or too many labels times weights."""
    both = "adam, then lbfgs"
    assert pick((80, 80, 1), 10)[:2] == (both, "6,721 weights and 10 labels, too many for lm")
    assert pick((40, 40, 1), 2_000)[::2] == (both, Auto.steps)


def test_large_or_noisy_ones_get_adam(pick):
    """Too many labels for second-order steps; or labels that show noise, which L-BFGS would fit."""
    assert pick((40, 40, 1), 120_000)[::2] == ("adam", Adam.steps)
    assert pick((80, 80, 1), 10, repeated=True)[1].endswith("points with several labels show noise")
    assert pick((4, 1), 10, repeated=True)[0] == "lm"  # its ridge holds against noise


@pytest.mark.slow
def test_the_choice_is_told_and_recorded(log, tmp_path):
    """In the result, and in the file that it leaves; a caller who chose needs no reason."""
    result = fit(log.network(), log.samples(), steps=3)
    assert result.selection_reason == "lm: 481 weights and 38 labels, few enough for it"
    assert set(result.history["optimizer"]) == {"lm"}
    assert f'"story": "{result.selection_reason}"' in (result.save(tmp_path / "log") / "fit.json").read_text()
    assert fit(log.network(), log.samples(), optimizer="lm", steps=3).selection_reason == ""


def test_two_optimisers_follow_one_another(line):
    """Where lm cannot be taken, Adam has two sevenths of the steps and L-BFGS goes on from there."""
    x = np.linspace(-1, 1, 9)
    layers = [keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(1e-6))]
    model = keras.Sequential([keras.Input((1,)), *layers])
    result = fit(model, Samples(x, 2 * x), loss=Value(), steps=70)
    names = result.history["optimizer"].tolist()
    assert names[:20] == ["adam"] * 20
    assert set(names[20:]) == {"lbfgs"}
    assert result.loss < 1e-5


@pytest.mark.slow
def test_time_is_shared_too(log):
    """When the time is up in Adam's part, L-BFGS does not begin."""
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(90, 90))
    result = fit(model, log.samples(), steps=10**6, seconds=0.2)
    assert set(result.history["optimizer"]) == {"adam"}
    assert "the time was up" in result.message
