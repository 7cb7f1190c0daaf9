"""Samples: what is taken, what is refused, and with which words."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Samples
from gradwire_training._data.columns import ColumnKey

X = np.linspace(1, 2, 4)
TWO = {"a": np.ones((4, 2)), "b": X}


def test_plain_arrays_get_the_lone_names_and_a_column():
    """One input and output may be plain arrays; rows of one number are kept as columns of float64."""
    samples = Samples(X, np.log(X).astype(np.float32), 1 / X)
    assert samples.x["x"].shape == samples.y["f"].shape == samples.dydx["f"]["x"].shape == (4, 1)
    assert samples.y["f"].dtype == np.float64
    assert (samples.count, samples.value_labels, samples.derivative_labels) == (4, 4, 4)
    assert repr(samples) == "Samples(rows=4, x=['x'], y=['f'], dydx=['df_dx'])"


def test_samples_keep_their_own_copy():
    """Changing an array afterwards does not change the samples."""
    column = X.copy()
    samples = Samples(column, column)
    column[:] = 0
    assert samples.x["x"][0, 0] == 1


@pytest.mark.parametrize(
    ("output", "wrt", "shape"),
    [("one", "b", (4,)), ("one", "a", (4, 2)), ("three", "b", (4, 3, 1)), ("three", "a", (4, 3, 2))],
)
def test_derivative_shapes_are_the_contracts(output, wrt, shape):
    """A one-number output's derivative has the input's shape; another's, its own and then the input's."""
    y = {"one": X, "three": np.ones((4, 3))}
    assert Samples(TWO, y, {output: {wrt: np.ones(shape)}}).derivative_labels == np.prod(shape)
    with pytest.raises(DataError, match=r"has shape .*, expected \(rows, .*\): output, then input"):
        Samples(TWO, y, {output: {wrt: np.ones((*shape, 2))}})


def test_nan_labels_are_missing():
    """NaN in labels is taken, and not counted as a label."""
    samples = Samples(X, [np.nan, 1, 2, 3], [np.nan, np.nan, 1, 1])
    assert (samples.value_labels, samples.derivative_labels) == (3, 2)


BAD = {
    "no rows": (([], []), r"x 'x' is empty, shape \(0,\): give at least one row"),
    "a scalar": ((1.0, 1.0), r"x 'x' is a single number, expected rows"),
    "no columns": (({}, X), r"x has no columns"),
    "ragged": (([[1.0], [1.0, 2.0]], X), r"x 'x' is not an array .*: give rows of one shape"),
    "text": ((X, ["a", "b", "c", "d"]), r"y 'f' has dtype <U1, expected real numbers"),
    "bool": ((X > 1, X), r"x 'x' has dtype bool, expected real numbers"),
    "complex": ((X, X + 1j), r"y 'f' has dtype complex128, expected real numbers"),
    "object": ((X, [None, 1, 2, 3]), r"y 'f' has dtype object, expected real numbers"),
    "short y": ((X, X[:3]), r"y 'f' has 3 rows, the first input has 4: give one row a sample"),
    "short x": (({"a": X, "b": X[:2]}, X), r"x 'b' has 2 rows, the first input has 4"),
    "short dydx": ((X, X, X[:3]), r"dydx\['f'\]\['x'\] has 3 rows, the first input has 4"),
    "nan x": (([1, np.nan, 2, np.nan], X), r"x 'x' holds NaN at row 1, 3 .*: an input must be known"),
    "inf x": (([1, np.inf, 2, 3], X), r"x 'x' holds infinity at row 1 \(counted from 0\)"),
    "inf y": (
        (X, [1, 2, 3, -np.inf]),
        r"y 'f' holds infinity at row 3 .*write NaN for a label that is missing",
    ),
    "inf dydx": ((X, X, [np.inf, 1, 1, 1]), r"dydx\['f'\]\['x'\] holds infinity at row 0"),
    "many inf": ((np.arange(9), np.full(9, np.inf)), r"y 'f' holds infinity at row 0, 1, 2, 3, 4 and 4 more"),
    "unknown output": ((X, X, {"g": {"x": X}}), r"dydx names the output 'g', y has \['f'\]"),
    "unknown input": ((X, X, {"f": {"z": X}}), r"dydx\['f'\] names the input 'z', x has \['x'\]"),
    "flat dydx": ((TWO, X, X), r"dydx is a plain array, but there are inputs \['a', 'b'\]"),
    "half dydx": ((X, X, {"f": X}), r"dydx\['f'\] is ndarray, expected a mapping: input -> array"),
}

BAD_DIRECTIONS = {
    "unknown input": ({"z": X}, {"f": X}, r"x_dot names 'z', expected one of \['a', 'b'\]"),
    "unknown output": ({"b": X}, {"g": X}, r"y_dot names 'g', expected one of \['f'\]"),
    "another shape": ({"a": X}, {"f": X}, r"x_dot 'a' has rows of shape \(1,\), expected \(2,\), as 'a' has"),
    "plain": (X, {"f": X}, r"x_dot is a plain array, but there are columns \['a', 'b'\]"),
    "short": ({"b": X[:2]}, {"f": X}, r"x_dot 'b' has 2 rows, the first input has 4"),
    "no label": ({"b": X}, None, "there is x_dot but no y_dot"),
    "nan": (
        {"b": [1, np.nan, 1, 1]},
        {"f": X},
        r"x_dot 'b' holds NaN at row 1 .*: a direction must be known",
    ),
}


@pytest.mark.parametrize(("x_dot", "y_dot", "message"), BAD_DIRECTIONS.values(), ids=BAD_DIRECTIONS)
def test_bad_directions_are_refused_by_name(x_dot, y_dot, message):
    """A direction has the input's shape, and is known where the derivative along it is."""
    with pytest.raises(DataError, match=message):
        Samples(TWO, X, x_dot=x_dot, y_dot=y_dot)


def test_rows_are_taken_with_all_that_belongs_to_them():
    """Every column, the units and the notes follow."""
    samples = Samples(TWO, X, {"f": {"a": TWO["a"]}}, x_dot={"b": X}, y_dot=X, units={"a": "m"}, notes=["a line"])
    some = samples.take(np.array([3, 1]))
    assert [name for name, _ in some.arrays()] == [name for name, _ in samples.arrays()]
    for (_, one), (_, other) in zip(some.arrays(), samples.arrays(), strict=True):
        np.testing.assert_array_equal(one, other[[3, 1]])
    assert (some.units, some.notes[0]) == ({"a": "m"}, "a line")


def test_samples_are_joined_with_missing_labels_where_some_have_none():
    """A derivative, or a direction, that only one part has is missing in the other."""
    one, other = Samples(X, X, 1 / X), Samples(X, X, x_dot=X, y_dot=X)
    both = Samples.concat([one, other])
    assert both.count == 8
    assert (both.value_labels, both.derivative_labels, both.directional_labels) == (8, 8, 4)
    np.testing.assert_array_equal(both.dydx["f"]["x"][:4, 0], 1 / X)


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_bad_samples_are_refused_by_name(given, message):
    """Samples that cannot be used say which column, which row, and what to do."""
    with pytest.raises(DataError, match=message):
        Samples(*given)


@pytest.mark.parametrize(("x", "y"), [({"x": X}, {"x": X}), ({"x-1": X}, X), ({"x_dot": X}, X)])
def test_names_that_no_package_can_have_are_refused(x, y):
    """Names are checked before anything is fitted, not at export."""
    with pytest.raises(UsageError):
        Samples(x, y)


@pytest.mark.parametrize(
    ("key", "file_name", "label"),
    [
        (ColumnKey("x", input="spot"), "x:spot", "x 'spot'"),
        (ColumnKey("y", "price"), "y:price", "y 'price'"),
        (ColumnKey("dydx", "price", "spot"), "dydx:price:spot", "dydx['price']['spot']"),
        (ColumnKey("x_dot", input="spot"), "x_dot:spot", "x_dot 'spot'"),
        (ColumnKey("y_dot", "price"), "y_dot:price", "y_dot 'price'"),
    ],
)
def test_a_columns_key_and_its_name_in_files(key, file_name, label):
    """The name is made and read in one place; names of other things are no columns."""
    assert (key.file_name, key.label, ColumnKey.from_file_name(file_name)) == (file_name, label, key)
    assert ColumnKey.from_file_name(f"pins.{file_name}") is None


def test_columns_and_arrays_give_the_samples_again():
    """Both ways back, with the columns of others in the same file."""
    samples = Samples(TWO, X, {"f": {"a": TWO["a"]}}, x_dot={"b": X}, y_dot=X)
    arrays = {f"pins.{name}": column[:2] for name, column in samples.arrays()} | dict(samples.arrays())
    for again in (Samples.from_columns(samples.columns()), Samples.from_arrays(arrays)):
        assert list(again.columns()) == list(samples.columns())
        for key, column in samples.columns().items():
            np.testing.assert_array_equal(again.columns()[key], column)
    assert Samples.from_arrays(arrays, prefix="pins.").count == 2
