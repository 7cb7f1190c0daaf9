"""The caller's arrays: which forms and dtypes go in, and in which form answers come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire._model.cast import cast


@pytest.mark.parametrize("shape", [(), (3,), (1,), (0,), (3, 1), (2, 3, 1), (1, 1), (0, 1), (2, 0, 1)])
def test_one_number_input_gives_back_the_form(log: gradwire.Model, shape: tuple[int, ...]):
    """Of a one-number function, value and derivative have the form of the points, rank 0 to 3, none included."""
    x = np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)
    f, df = log.value_and_grad(x)
    assert f.shape == df.shape == log.value(x).shape == shape
    assert f.dtype == df.dtype == np.float64
    assert np.array_equal(f, np.log(x))
    assert np.array_equal(df, 1 / x)


@pytest.mark.parametrize("x", [2, 2.0, [1, 2], [[1.0], [2.0]], np.float32(2), (1.0, 2.0)])
def test_plain_python_numbers(log: gradwire.Model, x: Any):
    """Numbers and lists are arrays of what they say."""
    assert np.array_equal(log.value(x), np.log(np.asarray(x, float)))


@pytest.mark.parametrize("shape", [(2, 3), (1, 2), (2, 2, 3)])
def test_one_number_input_of_higher_rank_must_end_in_one(log: gradwire.Model, shape: tuple[int, ...]):
    """A matrix is not silently taken for points."""
    with pytest.raises(gradwire.ShapeError, match=r"input 'x' has shape .*expected a scalar a point"):
        log.value(np.ones(shape))


@pytest.mark.parametrize("batch", [(), (1,), (4,), (0,), (2, 3)])
def test_several_inputs_and_outputs(
    multi: gradwire.Model, batch: tuple[int, ...], closed_forms: dict[str, Callable[..., Any]]
):
    """Vector inputs give back `(…)` and `(…, n)`, vector outputs `(…, m)` and `(…, m, n)`, by output and input."""
    rng = np.random.default_rng(0)
    one = (1,) if len(batch) > 1 else ()  # of rank 2 and more, a one-number input must end in 1
    x, t = rng.normal(size=(*batch, 3)), rng.normal(size=(*batch, *one))
    values, grads = multi.value_and_grad(x, t)
    exact = closed_forms["multi"](x.reshape(-1, 3), t.reshape(-1, 1))
    shapes = {"f": (), "g": (), "w": (3,)}
    assert list(values) == list(grads) == list(shapes)
    for name, shape in shapes.items():
        assert values[name].shape == (*batch, *shape)
        assert list(grads[name]) == ["x", "t"]
        assert grads[name]["x"].shape == (*batch, *shape, 3)
        assert grads[name]["t"].shape == (*batch, *shape, *one)
        assert np.array_equal(values[name].ravel(), exact[name].ravel())
        assert np.array_equal(grads[name]["x"].ravel(), exact[f"{name}_by_space"].ravel())
        assert np.array_equal(grads[name]["t"].ravel(), exact[f"{name}_by_time"].ravel())


def test_a_trailing_one_is_kept_where_it_was_given(multi: gradwire.Model):
    """The derivative by an input has that input's form; a value keeps a 1 only if every input was given with one."""
    values, grads = multi.value_and_grad(np.ones((5, 3)), np.ones((5, 1)))
    assert values["f"].shape == (5,)
    assert grads["f"]["t"].shape == (5, 1)
    assert grads["w"]["t"].shape == (5, 3, 1)


def test_a_single_number_is_used_for_every_point(multi: gradwire.Model):
    """A rank-0 one-number input is broadcast, and gets a derivative for each point."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    one, many = multi.value_and_grad(x, 2.0), multi.value_and_grad(x, np.full((2, 5, 1), 2.0))
    assert one[1]["f"]["t"].shape == (2, 5)
    assert all(np.array_equal(one[0][name], many[0][name]) for name in one[0])
    assert all(np.array_equal(one[1][name]["t"], many[1][name]["t"][..., 0]) for name in one[1])


@pytest.mark.parametrize(
    ("x", "t", "message"),
    [
        (np.ones((5, 3)), np.ones(4), r"'x' and 't' have the batch shapes \(5,\) and \(4,\)"),
        (np.ones((5, 3)), np.ones(1), r"'x' and 't' have the batch shapes \(5,\) and \(1,\)"),
        (np.ones(3), np.ones((1, 1)), r"batch shapes \(\) and \(1,\)"),
        (np.ones((5, 2)), np.ones(5), r"input 'x' has shape \(5, 2\), expected \(…, 3\)"),
        (2.0, 2.0, r"input 'x' has shape \(\), expected \(…, 3\)"),
        ([[1.0, 2.0, 3.0], [1.0]], 1.0, "input 'x' is not a regular array"),
    ],
)
def test_shapes_that_do_not_fit(multi: gradwire.Model, x: Any, t: Any, message: str):
    """A shape that does not fit is told with the input, what was got and what was expected."""
    with pytest.raises(gradwire.ShapeError, match=message):
        multi.value_and_grad(x, t)


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((1, 2, 3), {}, r"3 inputs by position, expected at most 2"),
        ((1,), {"x": 1}, r"given by position and by name: \{x\}"),
        ((1,), {}, r"sent extra: \{\}; missing but required: \{t\}"),
        ((), {"x": 1, "y": 2}, r"sent extra: \{y\}; missing but required: \{t\}"),
        ((), {}, r"missing but required: \{t, x\}"),
    ],
)
def test_names_that_do_not_fit(multi: gradwire.Model, args: Any, named: Any, message: str):
    """Inputs go by position in the card's order, or by name, never both; both sides of a difference are listed."""
    with pytest.raises(gradwire.InputNameError, match=message):
        multi.value(*args, **named)


def test_by_name_and_by_position_are_the_same(multi: gradwire.Model):
    """Names may come in any order, and after positions."""
    x = np.ones((2, 3))
    expected = multi.value(x, 3.0)["f"]
    assert np.array_equal(multi.value(t=3.0, x=x)["f"], expected)
    assert np.array_equal(multi.value(x, t=3.0)["f"], expected)


ODD = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_ordinary_number_keeps_its_bits(dtype: str):
    """NaN, infinities, negative zero and denormals go in as they are, from any byte order and layout."""
    with np.errstate(over="ignore"):
        array = np.array(ODD, dtype)
    for given in (array, array.astype(array.dtype.newbyteorder()), np.repeat(array, 3)[::3]):
        assert cast(given, dtype, "x").astype(dtype).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (0.1, "float32", np.float32(0.1)),
        (np.float16(0.1), "float64", float(np.float16(0.1))),
        ([1, 2], "float32", [1, 2]),
        (np.uint8(200), "float16", 200),
        (2**24, "float32", 2**24),
        (-(2**53), "float64", -(2**53)),
        (1e-46, "float32", 0),
        (3, "int8", 3),
        (np.uint64(5), "int32", 5),
        (1.5, "complex64", 1.5),
        (["a", b"\xff"], "string", [b"a", b"\xff"]),
        (True, "bool", True),
        (1.5, "bfloat16", 1.5),
    ],
)
def test_casts_that_lose_nothing_but_rounding(value: Any, dtype: str, expected: Any):
    """Numbers are cast to the signature's dtype; rounding of floats is meant, and allowed."""
    found = cast(np.array(value, object) if dtype == "string" else value, dtype, "x")
    assert np.array_equal(found, np.asarray(expected, found.dtype))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (1e39, "float32", "finite values that become infinite in float32"),
        (70000.0, "float16", "become infinite in float16"),
        (3.4e38, "bfloat16", "become infinite in bfloat16"),
        (2**24 + 1, "float32", r"integers beyond ±16777216, which float32"),
        ([0, -(2**53) - 1], "float64", "integers beyond"),
        (2**70, "float64", "holds objects, expected float64"),
        (1j, "float64", "holds complex128, expected float64"),
        (True, "float32", "holds bool, expected float32"),
        ("1.5", "float64", "holds str.*, expected float64"),
        ([1.0, None], "float64", "holds objects, expected float64"),
        (np.datetime64("2026-01-01"), "float64", "holds datetime64"),
        (1.0, "int32", "holds float64, expected int32"),
        (300, "uint8", "out of uint8's range, 0 to 255"),
        (-1, "uint64", "out of uint64's range"),
        (1, "bool", "holds int64, expected bool"),
        (1, "string", "holds int64, expected string"),
        (1 + 1j, "complex64", "holds complex128, expected complex64"),
        (np.ma.masked_equal([1.0, 2.0], 2.0), "float64", "masked values"),
        (1.0, "DT_20", "cannot be sent"),
    ],
)
def test_casts_that_lose_more_are_refused(value: Any, dtype: str, message: str):
    """Whatever a cast would change beyond rounding is refused by name, with what was got and what was expected."""
    with pytest.raises(gradwire.DTypeError, match=message) as error:
        cast(value, dtype, "x")
    assert "'x'" in str(error.value)


def test_answers_are_the_callers_own(log: gradwire.Model, make_log: Callable[..., gradwire.Model]):
    """Answers can be written to, and have the server's dtype."""
    f, df = make_log("float32").value_and_grad([1.0, 2.0])
    assert f.dtype == df.dtype == np.float32
    x = np.ones(3)
    for array in (f, df, log.value(x), log.value(np.empty(0))):
        assert array.flags.writeable
        array[...] = 7
    assert np.array_equal(x, np.ones(3))
