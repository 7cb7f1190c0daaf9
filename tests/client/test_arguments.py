"""Points, domains, units and names on the command line."""

import numpy as np
import pytest

from gradwire import DataError, InputNameError, ShapeError, Signature, TensorSpec, UsageError
from gradwire._cli.commands.serve import with_hyphens
from gradwire._cli.console import number, plain
from gradwire._cli.io.points import (
    read_counts,
    read_domain,
    read_names,
    read_pairs,
    read_points,
    read_shapes,
    read_units,
)
from gradwire._cli.query import Query

ONE = TensorSpec("x", "float64", (None, 1))
FLAT = TensorSpec("t", "float64", (None,))
THREE = TensorSpec("v", "float64", (None, 3))


def read(texts: list[str], *inputs: TensorSpec):
    """Read the points of a signature with these inputs, and complete them as a query does."""
    signature = Signature("serving_default", {spec.name: spec for spec in inputs}, {})
    return Query(signature, ()).complete(read_points(texts, signature.inputs, "the signature"))


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        (ONE, "x=0.5; 1.0; 1.5", [[0.5], [1.0], [1.5]]),
        (ONE, "x = 2", [[2.0]]),
        (ONE, "x=nan;inf;-inf;-0.0;1e-310", [[np.nan], [np.inf], [-np.inf], [-0.0], [1e-310]]),
        (ONE, "x=1;2;", [[1.0], [2.0]]),
        (FLAT, "t=1;2", [1.0, 2.0]),
        (THREE, "v=1,2,3; 4, 5,6", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    ],
)
def test_points_are_read(spec, text, expected):
    """';' stands between points and ',' within one; NaN and infinities are points, too."""
    points = read([text], spec)[spec.name]
    np.testing.assert_array_equal(points, expected)
    np.testing.assert_array_equal(np.signbit(points), np.signbit(expected))


def test_a_single_point_goes_with_all_points_of_another_input():
    """One rate for every time."""
    assert read(["x=7", "t=1;2;3"], ONE, FLAT)["x"].tolist() == [[7.0]] * 3


@pytest.mark.parametrize(
    ("content", "spec", "expected"),
    [
        ("x\n1\n2\n", ONE, [[1.0], [2.0]]),
        ("id, x \n7,1\n8,2\n", ONE, [[1.0], [2.0]]),
        ("1\n2\n\n", ONE, [[1.0], [2.0]]),
        ("v[0],v[1],w,v[2]\n1,2,9,3\n", THREE, [[1.0, 2.0, 3.0]]),
        ("1,2,3\n4,5,6\n", THREE, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    ],
)
def test_points_come_from_a_csv_file(tmp_path, content, spec, expected):
    """By the column's name, or all columns where there is no header."""
    (tmp_path / "points.csv").write_text(content)
    assert read([f"{spec.name}=@{tmp_path / 'points.csv'}"], spec)[spec.name].tolist() == expected


@pytest.mark.parametrize(
    ("texts", "specs", "kind", "message"),
    [
        (["y=1"], [ONE], InputNameError, r"sent extra: \{y\}; .*the signature takes \['x'\]"),
        ([], [ONE], InputNameError, r"missing but required: \{x\}"),
        (["x"], [ONE], UsageError, "expected NAME=VALUE"),
        (["x="], [ONE], DataError, "has no points"),
        (["x=1;two"], [ONE], DataError, "point 1: 'two' is not a number"),
        (["v=1,2"], [THREE], ShapeError, "point 0 has 2 numbers, expected 3"),
        (["x=1;2", "t=1;2;3"], [ONE, FLAT], ShapeError, "different numbers of points: {'x': 2, 't': 3}"),
    ],
)
def test_wrong_points_are_named(texts, specs, kind, message):
    """The message says which input and which point."""
    with pytest.raises(kind, match=message):
        read(texts, *specs)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("x\n", DataError, "points.csv has a header and no rows"),
        ("y\n1\n", InputNameError, r"points.csv has the columns \{y\}; missing but required: \{x\}"),
        ("x\n1\ntwo\n", DataError, "points.csv: row 2, column 'x': 'two'"),
        ("x,y\n,1\n", DataError, "points.csv: row 1, column 'x': ''"),
        ("1,2\n", DataError, "points.csv: row 1 has 2 cells, expected 1: x"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, kind, message):
    """The message says which file, which row and which column."""
    (tmp_path / "points.csv").write_text(content)
    with pytest.raises(kind, match=message):
        read([f"x=@{tmp_path / 'points.csv'}"], ONE)


def test_domains_and_units_are_read():
    """NAME=LOWER:UPPER, and NAME=UNIT, several with ','."""
    assert read_domain(["x=0.1:1.9", "t=-1:1"]) == {"x": (0.1, 1.9), "t": (-1.0, 1.0)}
    assert read_shapes(["x=12,3", "t=4"]) == {"x": (12, 3), "t": (4,)}
    for wrong in ("x=", "x=12,", "x=-1", "x=1.5", "12,3"):
        with pytest.raises(UsageError, match="expected NAME="):
            read_shapes([wrong])
    assert read_units(["spot=USD,vol=1", "t=year"]) == {"spot": "USD", "vol": "1", "t": "year"}
    for wrong in ("x=1", "x=1:2:3", "x=2:1", "x=a:b", "x=nan:1"):
        with pytest.raises(UsageError, match="expected NAME=LOWER:UPPER"):
            read_domain([wrong])


def test_names_and_pairs_are_read():
    """NAME,NAME and OUTPUT:INPUT,…; what was not given is None, or no pairs."""
    assert read_names("wrt", "spot, vol") == ["spot", "vol"]
    assert read_names("wrt", None) is None
    assert read_pairs("zeros", "price:rate,delta: rate") == [("price", "rate"), ("delta", "rate")]
    assert read_pairs("zeros", None) == []
    for wrong in ("", "spot,", "spot,spot"):
        with pytest.raises(UsageError, match=r"--wrt .* expected distinct names"):
            read_names("wrt", wrong)
    for wrong in ("price", ":rate", "price:"):
        with pytest.raises(UsageError, match=r"--zeros .* expected OUTPUT:INPUT"):
            read_pairs("zeros", wrong)


def test_counts_are_read():
    """Distinct positive integers, separated by commas."""
    assert read_counts("rows", "5, 10,19") == [5, 10, 19]
    for wrong in ("", "5,x", "5;10", "0,5", "-3", "5,5", "5,"):
        with pytest.raises(UsageError, match=r"--rows .* expected distinct positive integers"):
            read_counts("rows", wrong)


def test_servings_flags_are_understood_as_usual_ones():
    """Underscores or hyphens, and switches with a value."""
    arguments = [
        "serve",
        "a_b",
        "--enable_batching=true",
        "--enable-batching=false",
        "--enable_batching",
        "--rest_api_port=1",
    ]
    assert with_hyphens(arguments) == [
        "serve", "a_b", "--enable-batching", "--no-enable-batching", "--enable-batching", "--rest-api-port=1",
    ]  # fmt: skip


def test_what_follows_two_hyphens_goes_to_the_engine_as_it_is():
    """Flags that the launcher does not know are not rewritten."""
    assert with_hyphens(["serve", "--grpc_max_threads=9", "--", "--num_load_threads=3", "x_y"]) == [
        *("serve", "--grpc-max-threads=9", "--engine-flag=--num_load_threads=3", "--engine-flag=x_y")
    ]


def test_text_from_a_server_cannot_command_the_terminal():
    """Escape sequences, carriage returns and markup are shown, not obeyed."""
    shown = plain("\x1b[31mred\x07\r[bold]x[/bold]\n")
    assert (
        shown.plain
        == "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[bold]x[/bold]\n"
    )
    assert shown.spans == []


def test_unknown_numbers_are_a_dash():
    """A card has null where a number was not finite."""
    assert (number(None), number(0.00012345)) == ("-", "0.000123")
