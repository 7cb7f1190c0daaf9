"""Columns without a role, columns under other names, and derivatives under names of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradwire import Alias
from gradwire._errors import DataError, UsageError
from gradwire_training import Samples, Stream
from gradwire_training._data.label_names import label_guess

ROWS = 4
ONES = np.ones(ROWS)
OPTION = {"S0": 2 * ONES, "vol": ONES, "T": 3 * ONES, "px": ONES, "desk": ["exo"] * ROWS}
NAMED = {"inputs": ["S0", "vol", "T"], "outputs": ["px"]}
GREEKS = {"delta": ("px", "S0"), "vega": ("0.01*px", "vol")}


def _table(**more):
    return pd.DataFrame(OPTION | more)


UNSAID = {
    "an input of a price": (
        _table(dpx_dS0=ONES, dpx_dvol=ONES),
        {},
        r'numbers in T, which is neither input, output nor derivative: put into inputs .*--inputs "S0,vol,T"\), .*--ignore "T"',
    ),
    "an input beside those that are named": (
        _table(),
        {"inputs": ["S0", "vol"], "outputs": ["px"]},
        r"numbers in T, which is neither",
    ),
    "a weight": (_table(weight=[1, 2, 3, 4]), NAMED, r'numbers in weight.*--ignore "weight"'),
    "a list": (_table(path=[[1.0, 2.0]] * ROWS), NAMED, r"numbers in path"),
    "an output that is not named": (_table(), {"inputs": ["S0", "vol"], "outputs": ["T"]}, r"numbers in px"),
    "greeks": (
        _table(delta=ONES, vega=ONES, theta=ONES, rho=ONES),
        NAMED,
        r'derivative delta, vega, theta, rho is \(--derivatives "delta=px:S0, vega=px:vol, theta=-px:T, rho=px:INPUT"\)',
    ),
    "a second derivative": (_table(gamma=ONES), NAMED, r"a fit takes no second derivatives, as gamma may be"),
    "no underscore": (_table(dpxdS0=ONES), NAMED, r'"dpxdS0=px:S0"'),
    "a slash": (_table(**{"dpx/dvol": ONES}), NAMED, r'"dpx/dvol=px:vol"'),
    "d at each end": (_table(d_px_d_T=ONES), NAMED, r'"d_px_d_T=px:T"'),
    "grad": (_table(grad_vol=ONES), NAMED, r'"grad_vol=px:vol"'),
    "forces": (
        {"positions": np.ones((ROWS, 2, 3)), "energy": ONES, "forces": np.ones((ROWS, 2, 3))},
        {"inputs": ["positions"], "outputs": ["energy"]},
        r'"forces=-energy:positions"',
    ),
    "a stranger's derivative": (
        {"x": ONES, "y": ONES, "dfdx": ONES},
        {"inputs": ["x"], "outputs": ["y"]},
        r'"dfdx=y:x"',
    ),
}


@pytest.mark.parametrize("case", UNSAID)
def test_numbers_without_a_role_are_refused(case):
    """A number that is dropped is a wrong model: the columns are named, with each way out."""
    table, arguments, message = UNSAID[case]
    with pytest.raises(DataError, match=message):
        Samples.read(table, **arguments)


def test_what_is_ignored_or_holds_no_numbers_is_left_out_by_name(tmp_path):
    """In memory and in a stream alike: text, dates, truth values and empty columns need no word."""
    extra = {"weight": ONES, "day": pd.Timestamp("2026-01-01"), "late": True, "empty": np.nan}
    table = _table(**extra)
    samples = Samples.read(table, **NAMED, ignore=["weight"])
    assert samples.notes[1] == "columns left out: desk, day, late, empty, weight"
    table.drop(columns="late").to_parquet(tmp_path / "data.parquet")
    stream = Stream(tmp_path / "data.parquet", **NAMED, ignore=["weight"], holdout=0)
    assert (list(stream.samples.x), stream.settings()["ignore"]) == (NAMED["inputs"], ["weight"])
    with pytest.raises(DataError, match="numbers in weight"):
        Stream(tmp_path / "data.parquet", **NAMED)


def test_columns_are_mapped_to_names(tmp_path):
    """Blanks, units, commas and _dot: the model's names are the caller's, in the caller's order."""
    table = pd.DataFrame(
        {"alpha (deg)": ONES, "q_dot": 2 * ONES, "a, b": 3 * ONES, "Lift": 4 * ONES, "dLift_dq_dot": ONES}
    )
    names = {"inputs": {"qd": "q_dot", "alpha": "alpha (deg)", "ab": "a, b"}, "outputs": {"cl": "Lift"}}
    samples = Samples.read(table, **names)
    assert {name: column[0, 0] for name, column in samples.x.items()} == {"qd": 2, "alpha": 1, "ab": 3}
    assert samples.y["cl"][0, 0] == 4
    assert samples.dydx["cl"].keys() == {"qd"}  # the derivative has the contract's name for the columns
    assert not samples.x_dot
    table.to_parquet(tmp_path / "data.parquet")
    stream = Stream(tmp_path / "data.parquet", **names, holdout=0)
    assert list(Stream(**stream.settings()).samples.x) == ["qd", "alpha", "ab"]


def test_derivatives_have_names_signs_and_factors(tmp_path):
    """The label is the column without its factor, and the name is kept."""
    table = _table(delta=0.5 * ONES, vega=0.02 * ONES)
    samples = Samples.read(table, **NAMED, derivatives=GREEKS)
    np.testing.assert_allclose(samples.dydx["px"]["S0"], 0.5)
    np.testing.assert_allclose(samples.dydx["px"]["vol"], 2.0)
    assert samples.aliases == {"delta": Alias("px", "S0"), "vega": Alias("px", "vol", 0.01)}
    assert samples.notes[0] == "inputs S0, vol, T; outputs px; derivatives delta = dpx_dS0, vega = 0.01 dpx_dvol"
    assert samples.take(np.arange(2)).aliases == Samples.concat([samples, samples]).aliases == samples.aliases
    table.to_parquet(tmp_path / "data.parquet")
    stream = Stream(tmp_path / "data.parquet", **NAMED, derivatives=GREEKS, holdout=0)
    assert Stream(**stream.settings()).samples.aliases == samples.aliases
    forces = {"r": np.ones((2, 3)), "e": [1.0, 2.0], "f": [[1.0, 2.0, 3.0]] * 2}
    samples = Samples.read(forces, inputs=["r"], outputs=["e"], derivatives={"forces": ("-e", "r", "f")})
    assert samples.dydx["e"]["r"].tolist() == [[-1, -2, -3]] * 2


def test_derivatives_tell_the_roles():
    """With every input in a derivative nothing else has to be said."""
    table = _table(delta=ONES, vega=ONES)
    told = GREEKS | {"theta": ("-px", "T", "delta")}
    with pytest.raises(DataError, match=r"'delta' is a derivative and a derivative: give it one role"):
        Samples.read(table, derivatives=told)
    samples = Samples.read(table.drop(columns="T"), derivatives=GREEKS)
    assert (list(samples.x), list(samples.y)) == (["S0", "vol"], ["px"])


REFUSED = {
    "no such output": ({"delta": ("price", "S0")}, UsageError, r"'delta' is the derivative of 'price' .*\['px'\]"),
    "no such input": ({"delta": ("px", "spot")}, UsageError, r"respect to 'spot', expected .*\['S0', 'vol', 'T'\]"),
    "no such column": ({"delt": ("px", "S0")}, DataError, r"no column 'delt', .* did you mean 'delta'"),
    "a tensor's name": (
        {"dpx_dT": ("px", "S0", "delta")},
        UsageError,
        r"'dpx_dT' would stand for a derivative of 'px'",
    ),
    "an input's name": ({"vol": ("px", "S0", "delta")}, UsageError, r"'vol' would stand for input 'vol' and"),
    "twice": (
        {"a": ("px", "S0", "delta"), "b": ("px", "S0", "vega")},
        UsageError,
        "'a' and 'b' are both the derivative",
    ),
    "not a name": ({"d x": ("px", "S0", "delta")}, UsageError, r"'d x' is not a name"),
    "a tangent's name": ({"delta_dot": ("px", "S0", "delta")}, UsageError, r"'delta_dot' is not a name"),
    "no factor": ({"delta": ("0*px", "S0")}, UsageError, r"'delta' is '0\*px' by 'S0', expected an output"),
    "no number": ({"delta": ("a*px", "S0")}, UsageError, r"expected an output and an input, as in delta=px:S0"),
    "text": ({"delta": "px:S0"}, UsageError, r"expected \(output, input\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_derivatives_that_are_none_are_refused(case):
    """With what was expected; a name that collides with the contract's is no name."""
    derivatives, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        Samples.read(_table(delta=ONES, vega=ONES), **NAMED, derivatives=derivatives)


def test_a_column_has_one_role():
    """Two roles, and two columns for one derivative, are refused."""
    table = _table(delta=ONES, dpx_dS0=ONES)
    with pytest.raises(DataError, match=r"\['dpx_dS0', 'delta'\] are one derivative, dpx_dS0"):
        Samples.read(table, **NAMED, derivatives={"delta": ("px", "S0")})
    with pytest.raises(DataError, match=r"'T' is an input and ignored: give it one role"):
        Samples.read(table, **NAMED, ignore=["T"])


CASES = Path(__file__).parents[1] / "cases"


def test_strangers_tables_are_read_with_names_of_ones_own():
    """Blanks and units, a velocity, commas within brackets, greeks: the numbers are those of the truth."""
    drag = {"inputs": {"length": "length (cm)", "width": "width (cm)"}, "outputs": ["drag"]}
    samples = Samples.read(CASES / "tables/units.csv", **drag)
    np.testing.assert_allclose(samples.y["drag"], samples.x["length"] ** 2 * samples.x["width"])
    samples = Samples.read(CASES / "tables/robot.csv", inputs={"q": "q", "qd": "q_dot"}, outputs=["tau"])
    np.testing.assert_allclose(samples.y["tau"], samples.x["q"] ** 2 * samples.x["qd"])
    samples = Samples.read(CASES / "tables/semi.csv")
    np.testing.assert_allclose(samples.dydx["y"]["x"][:, 0], samples.x["x"][:, ::-1])  # y = (x0 x1, x0 + x1)
    np.testing.assert_array_equal(samples.dydx["y"]["x"][:, 1], 1.0)
    samples = Samples.read(CASES / "wing/runs.csv", inputs=["mach", "alpha", "re"], outputs=["cl", "cd", "cm"])
    assert (list(samples.y), samples.notes[1]) == (["cl", "cd", "cm"], "columns left out: run")
    greeks = {"delta": ("px", "S0"), "vega": ("px", "vol")}
    path = CASES / "barrier/samples.parquet"
    samples = Samples.read(path, inputs=["S0", "vol", "T"], outputs=["px"], derivatives=greeks)
    np.testing.assert_array_equal(samples.dydx["px"]["vol"][:, 0], pd.read_parquet(path)["vega"])
    with pytest.raises(DataError, match=r'--derivatives "delta=px:S0, vega=px:vol"'):
        Samples.read(path, inputs=["S0", "vol", "T"], outputs=["px"])


@pytest.mark.parametrize(
    ("column", "guess"),
    [
        ("delta", "px:S0"),
        ("Vega (1%)", "px:vol"),
        ("theta", "-px:T"),
        ("dpx/dS0", "px:S0"),
        ("d_px_d_vol", "px:vol"),
        ("gradient", "px:INPUT"),
        ("d_price_d_spot", "px:INPUT"),
        ("dfdx", "px:INPUT"),
        ("df/dx", "px:INPUT"),
        ("diode", None),
        ("depth", None),
        ("day", None),
        ("duration_days", None),
        ("weight", None),
        ("S1", None),
    ],
)
def test_names_of_derivatives_are_guessed(column, guess):
    """What is not known stays open; a name that only begins with a d is no derivative."""
    assert label_guess(column, ["S0", "vol", "T"], ["px"]) == guess
