"""Signs of slopes and bounds of values: trained by penalties, measured, refused by what cannot train them."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from gradwire._errors import UsageError
from gradwire_training import Samples, Sobolev, Value, fit, losses, mlp, optimizers, refine, repeat, with_dtype
from gradwire_training._models import IoBinding
from gradwire_training._objective import signs

T = np.linspace(0, 1, 30)
NOISY = np.exp(-2 * T) + 0.25 * np.random.default_rng(0).standard_normal(30)
ROWS = Samples({"T": T}, {"px": NOISY})
DENSE = np.linspace(0, 1, 1_000)[:, None]


def _fit(**settings):
    model = mlp(inputs={"T": 1}, outputs={"px": 1}, widths=(8,), activation="tanh", scale=ROWS)
    return fit(model, ROWS, loss=Value(**settings), optimizer="lbfgs", steps=150, dtype="float64")


@pytest.fixture(scope="module")
def free():
    """A fit without signs."""
    return _fit()


@pytest.fixture(scope="module")
def falling():
    """The same with both kinds."""
    return _fit(monotone="px:T-", bounds="px<=0.9")


@pytest.mark.slow
def test_a_noisy_decreasing_function_falls(free, falling):
    """Without the sign the fit follows the noise upwards, and above the bound; with it hardly anywhere."""
    rising = [np.mean(np.diff(np.asarray(result.model(DENSE)).ravel()) > 0) for result in (free, falling)]
    assert rising[0] > 0.15
    assert rising[1] < 0.08
    highest = [float(np.asarray(result.model(DENSE)).max()) for result in (free, falling)]
    assert highest[0] > 0.95
    assert highest[1] < 0.91


@pytest.mark.slow
def test_what_violates_a_sign_is_measured_and_said(free, falling, tmp_path):
    """On rows and points of the box that were not trained on: the share is that of a fine grid, the note says it."""
    assert free.violations == ()
    slope, bound = falling.violations
    rising = np.mean(np.diff(np.asarray(falling.model(DENSE)).ravel()) > 0)
    assert (slope.sign, bound.sign, slope.points) == ("px:T-", "px<=0.9", 2_030)
    assert slope.share == pytest.approx(rising, abs=0.02)
    assert any(note.startswith("px falls with T: trained, not proven; ") for note in falling.notes)
    record = json.loads((falling.save(tmp_path / "px") / "fit.json").read_text())["trained"]
    assert record["violations"]["px:T-"] == slope.to_dict()
    assert (record["loss"]["monotone"], record["loss"]["bounds"]) == ("px:T-", "px<=0.9")
    assert str(slope) in record["notes"]
    assert repeat(tmp_path / "px").loss == falling.loss


def test_the_penalty_is_its_closed_form(objective, line):
    """Of f = 3x - 1, whose slope and values are known everywhere, at 7 rows and 200 random points."""
    x = np.linspace(0.2, 1.8, 7)
    rows = Samples(x, 3 * x - 1)
    plain, monotone, bounded = (
        objective(line(3.0, -1.0), rows, Value(**settings))
        for settings in ({}, {"monotone": "f:x-"}, {"bounds": "f>=10, f<=5"})
    )
    assert float(plain.loss_and_mae()[0]) == pytest.approx(0)
    assert float(monotone.loss_and_mae()[0]) == pytest.approx(signs.STRENGTH * (3 * x.std()) ** 2)
    points = np.asarray(bounded._signs.x["x"]).ravel()
    assert len(points) == 7 + signs.FEWEST_POINTS
    assert (points.min(), points.max()) == (pytest.approx(0.2), pytest.approx(1.8))
    below = np.mean((11 - 3 * points) ** 2)  # none of them is above 5
    assert float(bounded.loss_and_mae()[0]) == pytest.approx(signs.STRENGTH * below)
    kept = objective(line(3.0, -1.0), rows, Value(monotone="f:x+", bounds="f>=-1"))
    assert float(kept.loss_and_mae()[0]) == pytest.approx(0)


def test_a_sign_may_be_of_one_element(objective, pair_samples):
    """For pair = (a0^2, b a1) the slopes with a[1] are 0 and b, those with a are all four."""
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(3,), scale=pair_samples)
    (one,), (every,) = (signs.read_slopes(text) for text in ("pair:a[1]+", "pair:a-"))
    values, derivatives = pair_samples.y, pair_samples.dydx
    np.testing.assert_array_equal(one.excess(values, derivatives), -derivatives["pair"]["a"][:, :, 1])
    np.testing.assert_array_equal(every.excess(values, derivatives), derivatives["pair"]["a"].reshape(-1, 4))
    target = objective(with_dtype(model, "float64"), pair_samples, Sobolev(monotone="pair:a[1]+, price:b+"))
    assert [unit.shape[0] for unit in target._signs._units] == [2, 1]
    loss, _, gradients = target.gradient()
    assert np.isfinite(loss)
    assert all(np.isfinite(part).all() for part in gradients)


def test_integer_inputs_are_those_of_rows():
    """A random point between two kinds would be none."""
    kind = keras.Input((), dtype="int32", name="kind")
    x = keras.Input((1,), name="x")
    code = keras.layers.Flatten()(keras.layers.Embedding(8, 2)(kind))
    model = keras.Model([x, kind], {"f": keras.layers.Dense(1)(keras.layers.Concatenate()([x, code]))})
    rows = Samples({"x": [0.0, 1.0, 2.0], "kind": [1, 5, 5]}, {"f": [0.0, 1.0, 2.0]})
    points = signs.sign_points(rows, IoBinding.of(model, rows), rows=3, points=50)
    assert set(points["kind"].ravel()) == {1, 5}
    with pytest.raises(UsageError, match=r"'f:kind\+' names the input 'kind', the model has \['x'\]"):
        fit(model, rows, loss=Value(monotone="f:kind+"), steps=1)


@pytest.mark.slow
def test_an_optimiser_that_does_not_train_signs_is_refused_by_name():
    """``auto`` takes others, and says why."""
    model = mlp(inputs={"T": 1}, outputs={"px": 1}, widths=(2,), scale=ROWS)
    loss = Value(monotone="px:T-")
    with pytest.raises(UsageError, match="'px:T-', which lm does not honour: use auto or adam or lbfgs or sgd"):
        fit(model, ROWS, loss=loss, optimizer="lm")
    result = fit(model, ROWS, loss=loss, steps=3)
    assert "the loss has signs to be kept (monotone inputs, bounds): 'px:T-'" in result.selection_reason
    batches = fit(model, ROWS, loss=loss, optimizer=optimizers.Adam(batch_size=8), steps=3)
    assert np.isfinite(batches.loss)


def test_a_second_stage_is_refused(falling):
    """The slopes of a sum are not those of its parts."""
    with pytest.raises(UsageError, match="a second stage keeps no signs"):
        refine(falling)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monotone": "px"}, r"monotone 'px', expected OUTPUT:INPUT and \+ or -, such as px:S0\+"),
        ({"monotone": "px:T+,"}, r"monotone '', expected"),
        ({"bounds": "px>0"}, r"bounds 'px>0', expected OUTPUT>=NUMBER or OUTPUT<=NUMBER, such as px>=0"),
        ({"bounds": "px>=nan"}, r"bounds 'px>=nan', expected"),
        ({"bounds": "px>=low"}, r"bounds 'px>=low', expected"),
    ],
)
def test_signs_of_another_form_are_refused(settings, message):
    """When the loss is made."""
    for kind in losses.names()[:2]:
        with pytest.raises(UsageError, match=message):
            losses.get(kind, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monotone": "pv:T+"}, r"'pv:T\+' names the output 'pv', the model has \['px'\]"),
        ({"monotone": "px:S+"}, r"'px:S\+' names the input 'S', the model has \['T'\]"),
        ({"monotone": "px:T[1]+"}, r"'px:T\[1\]\+' is of element 1 of 'T', which has 1"),
        ({"bounds": "pv>=0"}, r"'pv>=0' names the output 'pv', the model has \['px'\]"),
    ],
)
def test_names_that_the_model_does_not_have_are_refused(settings, message):
    """Before the first step."""
    with pytest.raises(UsageError, match=message):
        _fit(**settings)
