"""Tables that cannot be used: each is refused with the column, the row, and what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gradwire._errors import DataError, UsageError
from gradwire_training import Samples, Sobolev, Value, fit, mlp

NAMED = {"inputs": ["spot", "vol"], "outputs": ["price"]}
GOOD = {"spot": [1.0, 2.0], "vol": [0.1, 0.2], "price": [3.0, 4.0], "dprice_dspot": [1.0, 1.0]}

# name: (text of a CSV file or a table, arguments, what the message must say)
BAD = {
    "no such file": (None, NAMED, r"cannot read .*data.csv: .*No such file"),
    "an empty file": ("", NAMED, r"cannot read .*data.csv: it is empty, expected columns and rows"),
    "no rows": (
        "spot,vol,price\n",
        NAMED,
        r"data.csv has no rows, only the columns spot, vol, price: give at least one row",
    ),
    "wrong column": (
        "spott,vol,price\n1,2,3\n",
        NAMED,
        r"data.csv has no column 'spot', it has spott, vol, price; did you mean 'spott'\?",
    ),
    "no column like it": (
        "a,vol,price\n1,2,3\n",
        NAMED,
        r"has no column 'spot', it has a, vol, price: use one",
    ),
    "nothing says what is what": (
        "spot,vol,price\n1,2,3\n",
        {},
        r"the columns of data.csv do not tell .*: spot, vol, price; name them: inputs and outputs \(--inputs",
    ),
    "column twice": (
        "spot,vol,price,vol\n1,2,3,4\n",
        NAMED,
        r"data.csv has 2 columns named 'vol': rename or drop",
    ),
    "a row too long": (
        "spot,vol,price\n1,2,3\n1,2,3,4\n",
        NAMED,
        r"CSV parse error: Expected 3 columns, got 4",
    ),
    "text in a number": (
        "spot,vol,price\n1,2,3\n1,high,3\n",
        NAMED,
        r"column 'vol' holds 'high' in row 1 \(counted from 0\), expected a number: leave the cell empty",
    ),
    "a decimal comma": ('spot,vol,price\n1,"0,2",3\n', NAMED, r"column 'vol' holds '0,2' in row 0"),
    "infinity": ("spot,vol,price\n1,2,3\n1,2,inf\n", NAMED, r"y 'price' holds infinity at row 1 .*write NaN"),
    "infinite input": ("spot,vol,price\n1,inf,3\n", NAMED, r"x 'vol' holds infinity at row 0"),
    "an input is missing": (
        "spot,vol,price\n1,,3\n",
        NAMED,
        r"x 'vol' holds NaN at row 0 .*: an input must be known",
    ),
    "text, in pandas": (
        pd.DataFrame({**GOOD, "vol": [0.1, "n.a."]}),
        NAMED,
        r"column 'vol' holds 'n.a.' in row 1 \(counted from 0\)",
    ),
    "dates": (
        pa.table({**GOOD, "vol": pa.array([1, 2], pa.timestamp("s"))}),
        NAMED,
        r"column 'vol' holds timestamp\[s\], expected numbers: convert it",
    ),
    "truth values": (
        pa.table({**GOOD, "vol": [True, False]}),
        NAMED,
        r"column 'vol' holds bool, expected numbers",
    ),
    "ragged lists": (
        pa.table({**GOOD, "vol": [[1.0, 2.0], [1.0]]}),
        NAMED,
        r"column 'vol' has a row of 1 in row 1 \(counted from 0\), a row of 2 before: give rows of one length",
    ),
    "ragged lists, in pandas": (
        pd.DataFrame({**GOOD, "vol": [[1.0, 2.0], [1.0]]}),
        NAMED,
        r"column 'vol' has a row of 1 in row 1",
    ),
    "a derivative of another shape": (
        pa.table({**GOOD, "dprice_dspot": [[1.0, 2.0], [1.0, 2.0]]}),
        NAMED,
        r"dydx\['price'\]\['spot'\] has shape \(2, 2\), expected \(rows, 1\)",
    ),
    "a number is missing among several": (
        {"x[0]": [1.0], "x[2]": [1.0], "f": [1.0]},
        {},
        r"column 'x\[1\]' is missing: \['x\[0\]', 'x\[2\]'\] are there",
    ),
    "one number and several": (
        {"x": [1.0], "x[1]": [1.0], "f": [1.0]},
        {},
        r"which do not fit together: give 'x', or",
    ),
    "a derivative of too many": (
        {"x[0]": [1.0], "x[1]": [1.0], "f": [1.0], "df_dx[2]": [1.0]},
        {"inputs": ["x"], "outputs": ["f"]},
        r"column 'df_dx\[2\]' is one too many: a row of 'df_dx' has shape \(2,\)",
    ),
    "columns of other lengths": (
        {"x": [1.0, 2.0], "f": [1.0]},
        {},
        r"y 'f' has 1 rows, the first input has 2",
    ),
    "a direction without a derivative": (
        {"x": [1.0], "f": [1.0], "x_dot": [1.0]},
        {},
        r"'x_dot' would be a direction of 'x', .* map it to another name \(--inputs \"x,xdot=x_dot\"\)",
    ),
    "a derivative without a direction": (
        {"x": [1.0], "f": [1.0], "f_dot": [1.0]},
        {},
        r"there is y_dot but no x_dot",
    ),
    "half a direction": (
        {"x": [1.0, 2.0], "f": [1.0, 2.0], "x_dot": [1.0, np.nan], "f_dot": [1.0, 1.0]},
        {},
        r"x_dot 'x' holds NaN at row 1 .*: 0 stands for not moving",
    ),
    "an infinite direction": (
        {"x": [1.0], "f": [1.0], "x_dot": [np.inf], "f_dot": [1.0]},
        {},
        r"x_dot 'x' holds infinity at row 0",
    ),
    "a file of another kind": ("data.xlsx", {}, r"ends in '.xlsx', expected one of .parquet"),
    "not what its name says": (
        "data.parquet",
        NAMED,
        r"cannot read .*data.parquet: .*Parquet magic bytes not found",
    ),
    "no table at all": (3, NAMED, r"samples of a int cannot be read .*: give a path, a pandas DataFrame"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_table_that_cannot_be_used_says_why(name, tmp_path):
    """Column and row are named, rows counted from 0 as everywhere, and nothing is guessed."""
    source, arguments, message = BAD[name]
    if source is None or isinstance(source, str):
        path = tmp_path / (source if source and source.startswith("data.") else "data.csv")
        if source is not None:
            path.write_text(source)
        source = path
    with pytest.raises(DataError, match=message):
        Samples.read(source, **arguments)


def test_units_of_something_else_are_refused():
    """A unit for a column that is neither input nor output is a slip."""
    with pytest.raises(UsageError, match=r"units names 'strike', the samples have \['spot', 'vol', 'price'\]"):
        Samples.read(GOOD, **NAMED, units={"strike": "USD"})


def test_all_labels_missing_is_said_before_a_fit():
    """Columns without a single label are samples, and no loss can fit them."""
    nothing = Samples.read({"x": [1.0, 2.0], "f": [np.nan, np.nan], "df_dx": [np.nan, np.nan]})
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(2,))
    with pytest.raises(DataError, match=r"the samples hold no value \(y is NaN everywhere\).*: fill in y"):
        fit(model, nothing, loss=Value())
    values = Samples.read({"x": [1.0, 2.0], "f": [1.0, 2.0], "df_dx": [np.nan, np.nan]})
    with pytest.raises(DataError, match=r"the samples hold no derivative.*or use Value"):
        fit(model, values, loss=Sobolev())


def test_one_row_is_fitted():
    """One row is little, and enough: its value and slope are met."""
    one = Samples.read({"x": [2.0], "f": [3.0], "df_dx": [4.0]})
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(4,), activation="tanh", scale=one)
    result = fit(model, one, steps=200)
    assert max(result.errors[name]["max"] for name in ("f", "df_dx")) < 1e-3
