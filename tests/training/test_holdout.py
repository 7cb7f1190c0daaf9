"""Rows that are held out: which, how many, and what is measured on them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Derivative, Samples, Value, fit, hold_out, mlp, repeat, split_pins, summarize

X = np.linspace(1, 2, 50)


@pytest.fixture(scope="module")
def rows():
    """Fifty rows of the logarithm, with units."""
    return Samples(X, np.log(X), 1 / X, units={"x": "m", "f": "1"})


def test_a_fifth_is_held_out_and_the_seed_decides(rows):
    """Both parts together are all rows, in their order."""
    fitted, held = hold_out(rows, seed=1)
    assert (fitted.count, held.count) == (40, 10)
    assert sorted([*fitted.x["x"][:, 0], *held.x["x"][:, 0]]) == X.tolist()
    assert np.all(np.diff(fitted.x["x"][:, 0]) > 0)
    assert held.units == {"x": "m", "f": "1"}
    np.testing.assert_array_equal(hold_out(rows, seed=1)[1].x["x"], held.x["x"])
    assert hold_out(rows, seed=2)[1].x["x"].tolist() != held.x["x"].tolist()


def test_rows_of_one_point_stay_together():
    """Nothing is measured where it was fitted."""
    samples = Samples(np.repeat(X, 3), np.arange(150.0))
    fitted, held = hold_out(samples)
    assert not set(fitted.x["x"][:, 0]) & set(held.x["x"][:, 0])
    assert held.count == 30


def test_few_rows_are_all_fitted(rows):
    """Below twenty rows, or with a share of 0, none is held out."""
    few = rows.take(np.arange(19))
    assert hold_out(few) == (few, None)
    assert hold_out(rows, share=0.0) == (rows, None)
    with pytest.raises(UsageError, match=r"share 1.0 is to be held out, expected 0 or more and below 1"):
        hold_out(rows, share=1.0)


@pytest.mark.slow
def test_errors_are_those_of_the_rows_held_out(rows, tmp_path):
    """They go into the record with the units, and `repeat` measures on the same rows."""
    fitted, held = hold_out(rows)
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,), scale=fitted)
    result = fit(model, fitted, validation=held, steps=20, optimizer="adam")
    assert (result.errors["points"], result.errors["against"]) == (
        10,
        "10 held-out rows",
    )
    worst = np.abs(np.asarray(result.model(held.x["x"].astype(np.float32))) - held.y["f"]).max()
    assert result.errors["f"]["max"] == pytest.approx(worst, rel=1e-4)
    record = json.loads((result.save(tmp_path / "log") / "fit.json").read_text())
    assert (record["inputs"][0]["unit"], record["outputs"][0]["unit"]) == ("m", "1")
    assert record["trained"]["samples"]["held_out"] == 10
    assert record["inputs"][0]["domain"]["lower"] == [fitted.x["x"].min()]
    again = repeat(tmp_path / "log")
    assert (again.errors, again.loss) == (result.errors, result.loss)
    assert again.request.samples.units == {"x": "m", "f": "1"}


@pytest.mark.slow
def test_what_was_never_labelled_says_so_and_overfitting_shows():
    """Noisy values and a label of one slope alone: the errors of both are on fitted rows, too; the other has none."""
    generator = np.random.default_rng(0)
    x, t = generator.uniform(1, 2, (2, 30))
    samples = Samples({"x": x, "t": t}, {"f": x * t + generator.normal(0, 0.1, 30)}, {"f": {"x": t}})
    fitted, held = hold_out(samples)
    result = fit(mlp(inputs={"x": 1, "t": 1}, outputs={"f": 1}, scale=fitted), fitted, validation=held, steps=60)
    errors = result.errors
    assert errors["df_dt"] == {"max": None, "rmse": None, "training_rmse": None, "labels": "never labelled"}
    assert (errors["f"]["labels"], errors["df_dx"]["labels"]) == ("fitted", "fitted")
    assert errors["second_derivatives"] == "never labelled"
    names = [tensor.name for tensor in result.binding.inputs]
    for rows, key in ((fitted, "training_rmse"), (held, "rmse")):
        columns = {name: rows.x[name].astype(np.float32) for name in names}
        by_hand = np.sqrt(np.mean((np.asarray(result.model(columns)["f"]) - rows.y["f"]) ** 2))
        assert errors["f"][key] == pytest.approx(by_hand, rel=1e-3)
    assert errors["f"]["rmse"] > 1.3 * errors["f"]["training_rmse"]
    assert not result.comparison.is_of_values_alone


@pytest.mark.slow
def test_a_fit_of_values_alone_says_so():
    """Slopes that nobody labelled are never labelled; those that were measured and not fitted are told apart."""
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,))
    for slopes, labels in ((None, "never labelled"), (1 / X, "not fitted")):
        fitted, held = hold_out(Samples(X, np.log(X), slopes))
        result = fit(model, fitted, loss=Value(), validation=held, steps=3, optimizer="sgd")
        assert result.errors["df_dx"]["labels"] == labels
        assert (result.errors["df_dx"]["rmse"] is None) == (slopes is None)
        assert result.comparison.is_of_values_alone
        assert any("fitted to values alone" in line for line in summarize(result).notes)
    along = Samples(X, np.log(X), x_dot=np.full(50, 2.0), y_dot=2 / X)
    result = fit(model, along, steps=3, optimizer="sgd")
    assert result.errors["df_dx"]["labels"] == "along directions"
    assert not result.comparison.is_of_values_alone


def test_validation_with_other_columns_is_refused(rows):
    """The rows that are measured have the columns of those that are fitted."""
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,))
    with pytest.raises(DataError, match=r"validation has columns \{'x': \(1,\), 'g': \(1,\)\}, the samples"):
        fit(model, rows, validation=Samples(X, {"g": X}))
    with pytest.raises(UsageError, match=r"validation is 3, expected an instance of .*Samples"):
        fit(model, rows, validation=3)


def test_rows_with_a_value_alone_are_pins():
    """In one table: derivatives where they are known, and values that fix the constant."""
    slopes = np.where(np.arange(50) == 7, np.nan, 1 / X)
    values = np.where(np.isin(np.arange(50), (7, 9)), np.log(X), np.nan)
    samples, pins = split_pins(Samples(X, values, slopes))
    assert (samples.count, pins.count) == (49, 1)
    assert samples.value_labels == 1  # of a row that has a derivative too: measured, not fitted
    assert pins.y["f"].tolist() == [[np.log(X[7])]]
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(8,), activation="tanh")
    result = fit(model, samples, loss=Derivative(pins), steps=100)
    assert np.abs(np.asarray(result.model(X.astype(np.float32)[:, None]))[:, 0] - np.log(X)).max() < 1e-4


def test_derivatives_without_a_value_are_refused():
    """A derivative fixes a function only up to a constant."""
    with pytest.raises(DataError, match="derivatives leave a constant open, and no row has a value alone"):
        split_pins(Samples(X, np.log(X), 1 / X))
    with pytest.raises(DataError, match="no row has a derivative"):
        split_pins(Samples(X, np.log(X)))
