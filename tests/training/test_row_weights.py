"""Weights of rows: a weight of two is the row twice, a weight of zero is no row; in losses, Jacobians and errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Derivative, Samples, Sobolev, Stream, Value, fit, hold_out, mlp, repeat
from gradwire_training._jacobian import is_swept, residuals_of
from gradwire_training._models import input_scales, output_scales, with_dtype

X = np.linspace(0.2, 1.8, 7)
SLOPES = np.where(np.arange(7) == 3, np.nan, 1 / X)  # one is missing
WEIGHTS = np.array([2.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0])
PINS = Samples([1.0], [0.0])


def _log(rows, weights=None):
    return Samples(X[rows], np.log(X[rows]), SLOPES[rows], weights=weights)


EVERY = _log(np.arange(7), WEIGHTS)
REPEATED = _log(np.repeat(np.arange(7), WEIGHTS.astype(int)))
LOSSES = {
    "value": Value(),
    "sobolev": Sobolev(),
    "huber": Sobolev(huber=0.2, relative=0.1),
    "derivative": Derivative(PINS),
}


@pytest.fixture(params=LOSSES.values(), ids=list(LOSSES))
def pair(request, objective, small):
    """The objective of weighted rows, and that of the same rows repeated."""
    return objective(small(), EVERY, request.param), objective(small(), REPEATED, request.param)


def test_a_weight_of_two_is_the_row_twice(pair):
    """Loss, metric, gradient and the loss of the labels' mean."""
    weighted, repeated = pair
    (loss, mae, gradient), (expected, expected_mae, expected_gradient) = (each.gradient() for each in pair)
    assert float(loss) == pytest.approx(float(expected), rel=1e-13)
    assert float(mae) == pytest.approx(float(expected_mae), rel=1e-13)
    for one, other in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    assert weighted.variation == pytest.approx(repeated.variation, rel=1e-13)


@pytest.mark.slow
def test_least_squares_see_the_weights(pair):
    """The squares of the residuals sum to the loss, and their Jacobian to its gradient."""
    target = pair[0]
    residuals = residuals_of(target)
    assert is_swept(target) == (target.loss.huber is None)
    point = np.concatenate([np.array(variable).ravel() for variable in target.trainable])
    errors, mae = residuals.at(point)
    loss, expected_mae, gradient = target.gradient()
    assert (errors @ errors, mae) == (pytest.approx(float(loss)), pytest.approx(float(expected_mae)))
    total = sum(errors @ jacobian for errors, jacobian in residuals.blocks(point))
    flat = np.concatenate([np.array(part).ravel() for part in gradient])
    np.testing.assert_allclose(2 * total, flat, rtol=1e-9, atol=1e-12)


def test_batches_carry_the_weights(objective, small):
    """Over all batches of an epoch the mean of the losses is that of all rows."""
    target = objective(small(), _log([0, 1, 2, 4], WEIGHTS[[0, 1, 2, 4]]), Sobolev())
    batches = target.batches(2)
    losses = [float(target.loss_and_mae(batches.data.take(rows), batches.counts)[0]) for rows in batches.order(0, 2)]
    assert len(losses) == 2
    assert np.mean(losses) == pytest.approx(float(target.loss_and_mae()[0]), rel=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "adam", "sgd", "auto"])
def test_a_weight_of_zero_leaves_the_row_out(small, optimizer):
    """To the bit, whatever its label is; the note says how many."""
    wrong = np.append(np.log(X), 1e3)
    samples = Samples(np.append(X, 5.0), wrong)
    one, other = (
        fit(small(), rows, loss=Value(), optimizer=optimizer, steps=5, weights=weights)
        for rows, weights in ((samples, [1.0] * 7 + [0.0]), (Samples(X, np.log(X)), [1.0] * 7))
    )
    for ours, theirs in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert one.errors == other.errors
    assert "1 of 8 rows have the weight 0 and are left out" in one.request.samples.notes


def test_scaling_sees_the_weights():
    """Centre and spread are those of the rows repeated."""
    for scales in (input_scales, output_scales):
        (one,), (other,) = (scales(samples).values() for samples in (EVERY, REPEATED))
        assert (one.centre, one.spread) == (pytest.approx(other.centre), pytest.approx(other.spread))


def test_errors_on_other_rows_are_weighted(line):
    """The rmse of f = 2x against x with weights is the closed form; the rows say so, and the record has their range."""
    rows = Samples([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], weights=[1.0, 3.0, 1.0])
    result = fit(line(2.0, 0.0), rows, loss=Value(), optimizer="sgd", steps=1, validation=rows.weighted([0, 3, 1]))
    truth = result.comparison.tensors[0]
    errors = truth.predicted.ravel() - [1.0, 2.0]
    assert result.errors["f"]["rmse"] == pytest.approx(np.sqrt((3 * errors[0] ** 2 + errors[1] ** 2) / 4))
    assert truth.relative == pytest.approx(result.errors["f"]["rmse"] / np.sqrt(3 / 16))
    assert result.errors["against"] == "2 held-out rows by weight"


@pytest.mark.slow
def test_a_saved_fit_has_its_weights(small, tmp_path):
    """In the record and beside the rows; ``repeat`` ends at the same weights of the network."""
    result = fit(small(), EVERY, optimizer="lbfgs", steps=3)
    record = json.loads((result.save(tmp_path / "log") / "fit.json").read_text())
    assert record["trained"]["samples"]["weights"] == {
        "column": None,
        "smallest": 1.0,
        "largest": 3.0,
        "effective_rows": 5.8,
    }
    again = repeat(tmp_path / "log")
    np.testing.assert_array_equal(again.request.samples.row_weights, WEIGHTS)
    assert again.loss == result.loss


def test_a_column_of_a_table_is_no_input(tmp_path):
    """It is named; without its name it is refused like any column of numbers without a role."""
    table = {"x": X, "f": np.log(X), "df_dx": SLOPES, "w": WEIGHTS}
    samples = Samples.read(table, weights="w")
    assert list(samples.x) == ["x"]
    np.testing.assert_array_equal(samples.row_weights, WEIGHTS)
    assert "rows are weighted by w" in samples.notes
    assert (samples.weight_column, samples.weighted(WEIGHTS).weight_column) == ("w", None)
    fitted, others = hold_out(samples, least=2)
    assert fitted.weight_column == Samples.concat([fitted, others]).weight_column == "w"
    assert sorted([*fitted.row_weights, *others.row_weights]) == sorted(WEIGHTS)
    with pytest.raises(DataError, match="has numbers in w, which is neither input, output nor derivative"):
        Samples.read(table)
    with pytest.raises(DataError, match="the column 'x' is an input and the weights: give it one role"):
        Samples.read(table, inputs=["x"], outputs=["f"], weights="x")


@pytest.mark.slow
def test_a_stream_has_weights_too(tmp_path):
    """Rows of weight zero are neither fitted nor held out, and do not widen the domain."""
    pa = pytest.importorskip("pyarrow", reason="files need an extra")
    pq = pytest.importorskip("pyarrow.parquet", reason="files need an extra")
    x = np.linspace(0, 1, 40)
    weights = np.where(np.arange(40) > 35, 0.0, 2.0)
    pq.write_table(pa.table({"x": x, "f": x, "w": weights}), tmp_path / "rows.parquet", row_group_size=10)
    stream = Stream(tmp_path / "rows.parquet", inputs=["x"], outputs=["f"], weights="w")
    assert stream.count + stream.validation.count == 36
    assert stream.upper["x"] == pytest.approx(x[35])
    rows = stream.read(stream.blocks(0)[0])
    assert set(rows.row_weights) == {2.0}
    model = with_dtype(mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(2,)), "float32")
    assert np.isfinite(fit(model, stream, loss=Value(), steps=2).loss)
    with pytest.raises(UsageError, match="weights are of rows in memory"):
        fit(model, stream, loss=Value(), weights=np.ones(40))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, -1], r"weights holds a negative number at row 2"),
        ([1, np.nan, 1], r"weights holds NaN at row 1"),
        ([1, np.inf, 1], r"weights holds infinity at row 1"),
        ([1, 1], r"weights has 2 rows, the first input has 3"),
        ([[1, 1]] * 3, r"weights have rows of shape \(2,\), expected a number a row"),
        ([0, 0, 0], r"the weights of all 3 rows are 0"),
    ],
)
def test_what_is_no_weight_is_refused(small, weights, message):
    """By row, before anything is fitted."""
    with pytest.raises(DataError, match=message):
        fit(small(), Samples([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]), loss=Value(), weights=weights)


def test_rows_with_and_without_weights_are_not_joined():
    """Nobody said what the others count."""
    with pytest.raises(DataError, match="some of the rows to be joined have weights, and others none"):
        Samples.concat([EVERY, REPEATED])
