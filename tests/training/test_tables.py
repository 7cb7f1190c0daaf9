"""Samples from tables: the same numbers whatever they come from, and columns told apart by their names."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from gradwire._errors import DataError, MissingExtra
from gradwire_training import Samples

ROWS = 6
GENERATOR = np.random.default_rng(3)
SPOT, VOL = GENERATOR.uniform(1, 2, ROWS), GENERATOR.uniform(0.1, 0.4, ROWS)
DELTA = np.where(np.arange(ROWS) == 2, np.nan, 2 * SPOT * VOL)  # one label is missing
COLUMNS = {
    "trade": [f"t{i}" for i in range(ROWS)],
    "spot": SPOT,
    "vol": VOL,
    "price": SPOT**2 * VOL,
    "dprice_dspot": DELTA,
}


def _frame():
    return pd.DataFrame(COLUMNS)


def _written(place, suffix):
    path = place / f"data.{suffix}"
    match suffix:
        case "parquet":
            _frame().to_parquet(path)
        case "csv":
            _frame().to_csv(path, index=False)
        case "tsv":
            _frame().to_csv(path, index=False, sep="\t")
        case "feather":
            pyarrow.feather.write_feather(pa.Table.from_pandas(_frame()), path)
    return path


SOURCES = {
    "mapping": lambda place: {name: np.asarray(column) for name, column in COLUMNS.items() if name != "trade"},
    "pandas": lambda place: _frame(),
    "pandas nullable": lambda place: _frame().convert_dtypes(),
    "arrow": lambda place: pa.Table.from_pandas(_frame()),
    "record batch": lambda place: pa.RecordBatch.from_pandas(_frame()),
    **{suffix: lambda place, suffix=suffix: _written(place, suffix) for suffix in ("parquet", "csv", "tsv", "feather")},
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_samples(source, tmp_path):
    """A null, an empty cell and NaN are one missing label; columns of other kinds are left out, and said."""
    samples = Samples.read(SOURCES[source](tmp_path), inputs=["spot", "vol"], outputs=["price"], units={"spot": "USD"})
    np.testing.assert_array_equal(samples.x["spot"][:, 0], SPOT)
    np.testing.assert_array_equal(samples.x["vol"][:, 0], VOL)
    np.testing.assert_array_equal(samples.y["price"][:, 0], SPOT**2 * VOL)
    np.testing.assert_array_equal(samples.dydx["price"]["spot"][:, 0], DELTA)
    assert samples.units == {"spot": "USD"}
    assert samples.notes[0] == "inputs spot, vol; outputs price; derivatives dprice_dspot"
    assert samples.notes[1:] == (() if source == "mapping" else ("columns left out: trade",))


def test_semicolons_and_integers_are_read(tmp_path):
    """A table of a European spreadsheet, with whole numbers, and text as a sign of a missing label."""
    path = tmp_path / "data.csv"
    path.write_text("x;f;df_dx\n1;1;2\n2;4;n/a\n", encoding="utf-8-sig")
    samples = Samples.read(path)
    assert samples.x["x"].tolist() == [[1], [2]]
    np.testing.assert_array_equal(samples.dydx["f"]["x"], [[2], [np.nan]])


def test_names_of_derivatives_tell_inputs_from_outputs():
    """With dprice_dspot and dprice_dvol nothing has to be said; x and f are an input and an output in any case."""
    table = {name: np.ones(3) for name in ("price", "dprice_dvol", "spot", "vol", "dprice_dspot")}
    samples = Samples.read(table)
    assert (list(samples.x), list(samples.y)) == (["spot", "vol"], ["price"])
    assert list(samples.dydx["price"]) == ["spot", "vol"]
    assert list(Samples.read({"x": [1.0], "f": [2.0]}).x) == ["x"]


LISTS = {
    "lists": pa.table({"x": [[1.0, 2.0], [3.0, 4.0]], "f": [1.0, None], "df_dx": [[1.0, None], None]}),
    "fixed lists": pa.table(
        {
            "x": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            "f": [1.0, None],
            "df_dx": pa.array([[1.0, None], None], pa.list_(pa.float64(), 2)),
        }
    ),
    "tensors": pa.table(
        {
            "x": pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[1.0, 2.0], [3.0, 4.0]])),
            "f": [1.0, None],
            "df_dx": [[1.0, None], None],
        }
    ),
    "numbered": {
        "x[0]": [1.0, 3.0],
        "x[1]": [2.0, 4.0],
        "f": [1.0, np.nan],
        "df_dx[0]": [1.0, np.nan],
    },  # a partial derivative that no row has needs no column
}


@pytest.mark.parametrize("kind", LISTS)
def test_rows_of_several_numbers(kind):
    """A column of lists, or a column a number, as `gradwire query` prints them: the same samples."""
    for table in (LISTS[kind], LISTS[kind].to_pandas()) if kind in ("lists", "fixed lists") else (LISTS[kind],):
        samples = Samples.read(table, inputs=["x"], outputs=["f"])
        np.testing.assert_array_equal(samples.x["x"], [[1, 2], [3, 4]])
        np.testing.assert_array_equal(samples.y["f"], [[1], [np.nan]])
        np.testing.assert_array_equal(samples.dydx["f"]["x"], [[1, np.nan], [np.nan, np.nan]])


def test_matrices_of_derivatives_are_numbered_by_output_and_input():
    """dpair_da[1,0] is the derivative of the second output number by the first input number."""
    table = {f"a[{i}]": np.ones(2) for i in range(3)} | {f"pair[{i}]": np.ones(2) for i in range(2)}
    table |= {f"dpair_da[{i},{j}]": np.full(2, 10 * i + j) for i in range(2) for j in range(3)}
    samples = Samples.read(table)
    assert samples.dydx["pair"]["a"].shape == (2, 2, 3)
    assert samples.dydx["pair"]["a"][0].tolist() == [[0, 1, 2], [10, 11, 12]]


def test_directions_are_read_by_the_contracts_names():
    """x_dot is a direction a row, f_dot the derivative along it."""
    samples = Samples.read({"x": [[1.0, 2.0]] * 3, "f": [1.0] * 3, "x_dot": [[0.0, 1.0]] * 3, "f_dot": [3.0] * 3})
    assert samples.x_dot["x"].tolist() == [[0, 1]] * 3
    assert samples.y_dot["f"].tolist() == [[3]] * 3
    assert samples.directional_labels == samples.derivative_labels == 3
    assert repr(samples) == "Samples(rows=3, x=['x'], y=['f'], dydx=['f_dot'])"


def test_replicates_are_noted_and_kept():
    """The same point with other labels is data: a line says how many; 0.0 and -0.0 are one point."""
    samples = Samples.read({"x": [0.0, 1.0, -0.0, 2.0, 2.0, 2.0 + 1e-15], "f": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})
    assert samples.count == 6
    assert samples.notes[-1].startswith("2 points occur more than once (4 of 6 rows): all are fitted")


def test_replicates_tell_the_noise():
    """By output and derivative: the pooled deviation from the points' means; few, exact or lone ones tell none."""
    x = np.repeat(np.arange(40.0), 3)
    noise = 0.2 * np.random.default_rng(0).standard_normal(120)
    samples = Samples(x, {"f": np.sin(x) + noise, "g": np.sin(x)}, {"f": {"x": np.where(x == 1, noise, np.nan)}})
    groups = (np.sin(x) + noise).reshape(40, 3)
    pooled = np.sqrt(((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum() / 80) / groups.std()
    assert 0.2 < pooled < 0.32
    assert samples.notes[-1] == f"they tell the noise of the labels, of their spread: f {100 * pooled:.2g} %"
    assert "noise" not in " ".join(Samples(x, np.sin(x)).notes)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    """Parquet without pyarrow says what to install, and arrays are read without it."""
    path = _written(tmp_path, "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'gradwire\[batch\]'"):
        Samples.read(path)
    assert Samples.read({"x": [1.0], "f": [2.0]}).count == 1


def test_a_column_that_is_left_out_may_hold_anything():
    """Only columns that are asked for are read."""
    table = {"x": [1.0], "f": [2.0], "note": ["text"], "when": [object()]}
    assert Samples.read(table).count == 1
    with pytest.raises(DataError, match="column 'note' holds 'text' in row 0"):
        Samples.read(pa.table({"x": [1.0], "note": ["text"]}), inputs=["x"], outputs=["note"])
