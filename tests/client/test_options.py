"""How a `Model` behaves: casts, points outside of the domain, answers kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import FakeTransport, Model
from gradwire._model.cast import cast
from gradwire.testing import FakeModel


@pytest.mark.parametrize(
    "kwargs",
    [{"timeout": 0}, {"timeout": float("nan")}, {"cast": "no"}, {"on_extrapolation": "x"}, {"memoize": -1}],
)
def test_options_that_cannot_be(log: Model, kwargs: dict[str, Any]):
    """A word that is none of those there are is misuse, told with the words that are."""
    with pytest.raises(gradwire.UsageError, match="expected"):
        Model(log._transport, **kwargs)


# -- casts


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0.5, "float32"),
        (2**24, "float32"),
        (np.nan, "float32"),
        (-0.0, "float16"),
        (1.5, "bfloat16"),
        ([], "float32"),
    ],
)
def test_exact_casts_take_what_fits(value: Any, dtype: str):
    """`cast="exact"` takes a float64 that is a float32 to the last digit."""
    assert np.array_equal(cast(value, dtype, "x", "exact"), np.asarray(value), equal_nan=True)


@pytest.mark.parametrize(
    ("value", "dtype"), [(0.1, "float32"), ([0.5, 1e-50], "float32"), (2049.0, "float16"), (1.01, "bfloat16")]
)
def test_exact_casts_refuse_rounding(value: Any, dtype: str):
    """`cast="exact"` refuses what loses a digit, where the default rounds."""
    with pytest.raises(gradwire.DTypeError, match=r"cannot hold to the last digit.*cast='exact'"):
        cast(value, dtype, "x", "exact")
    assert cast(value, dtype, "x").dtype == cast(0, dtype, "x").dtype


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1e39, "float32", np.inf),
        (2**24 + 1, "float32", 2.0**24),
        (1 + 2j, "float64", 1.0),
        (True, "float32", 1.0),
        (1.7, "int32", 1),
        (300, "uint8", 44),
    ],
)
def test_all_is_allowed_where_it_is_asked_for(value: Any, dtype: str, expected: Any):
    """`cast="allow"` is NumPy's own cast, without a word; text is still no number."""
    assert cast(value, dtype, "x", "allow") == expected
    with pytest.raises(gradwire.DTypeError):
        cast("1", dtype, "x", "allow")


def test_a_model_casts_as_it_was_told(log: Model, make_log: Callable[..., Model]):
    """The option holds for inputs and for tangents alike."""
    single = make_log("float32")._transport
    with pytest.raises(gradwire.DTypeError, match="'exact'"):
        Model(single, cast="exact").value(0.1)
    assert Model(single, cast="exact").value(0.5) == np.log(np.float32(0.5))
    assert Model(single, cast="allow").value(True) == 0


# -- outside of the domain


def test_points_outside_are_ignored_by_default(log: Model):
    """Nobody is bothered who did not ask."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log.value(7.0) == np.log(7.0)


def test_points_outside_are_warned_of(log: Model, multi: Model):
    """A warning says which input, how many points, the domain, and the first of them; at the caller's line."""
    message = r"input 'x': 2 of 4 points lie outside .*\[0\.1\] to \[1\.9\]; the first is point 1, \[2\.\]"
    with pytest.warns(gradwire.ExtrapolationWarning, match=message) as caught:
        Model(log._transport, on_extrapolation="warn").value_and_grad([1.0, 2.0, 0.1, np.nan])
    assert caught[0].filename == __file__
    with pytest.warns(gradwire.ExtrapolationWarning, match="input 't': 1 of 1 points"):
        Model(multi._transport, on_extrapolation="warn").value([0.0, 1.0, 2.0], 3.0)


def test_points_outside_are_refused(log: Model, multi: Model, log_curved: Model):
    """Before anything is sent, by every method; a point on the border is inside, also after rounding."""
    strict = Model(log_curved._transport, on_extrapolation="raise")
    for method, more in (("value", ()), ("grad", ()), ("jvp", (1.0,)), ("hessian", ())):
        with pytest.raises(gradwire.ExtrapolationError, match="outside"):
            getattr(strict, method)(1.91, *more)
    with pytest.raises(gradwire.ExtrapolationError):
        strict.predict("serving_default", x=[[0.05]])
    assert strict.value([0.1, 1.9]).shape == (2,)
    assert strict.value([]).shape == (0,)
    with pytest.raises(gradwire.ExtrapolationError, match=r"input 'x': 1 of 2 points"):
        Model(multi._transport, on_extrapolation="raise").value([[0.0, 1.0, 2.0], [0.0, 1.0, 3.1]], 1.0)


def test_bounds_are_rounded_as_points_are(make_log: Callable[..., Model]):
    """A float32 model whose domain ends at 1.9 takes 1.9, which is a little less there, and 0.1, a little more."""
    strict = Model(make_log("float32")._transport, on_extrapolation="raise")
    assert strict.value(np.array([0.1, 1.9])).shape == (2,)
    with pytest.raises(gradwire.ExtrapolationError):
        strict.value(np.nextafter(np.float32(1.9), np.float32(2)))


def test_a_bound_that_is_not_known_bounds_nothing(log: Model):
    """A null on the card is no bound; a card without any is refused by who wants to be warned."""
    from dataclasses import replace

    half = replace(log.card.inputs[0], domain=gradwire.Domain([None], [1.9]))
    functions = {"serving_default": lambda x: {"f": x, "df_dx": x}}
    strict = Model(FakeTransport(functions, card=replace(log.card, inputs=(half,))), on_extrapolation="raise")
    assert strict.value(-1e300) == -1e300
    with pytest.raises(gradwire.ExtrapolationError):
        strict.value(2.0)
    none = replace(log.card, inputs=(replace(half, domain=None),))
    with pytest.raises(gradwire.UsageError, match="has no domain"):
        Model(FakeTransport(functions, card=none), on_extrapolation="warn").value(1.0)


# -- answers kept


@pytest.fixture
def counted() -> FakeModel:
    """A logarithm that counts its calls."""
    quiet = np.errstate(all="ignore")
    return FakeModel(quiet(np.log), quiet(lambda x: 1 / x))


def test_nothing_is_kept_by_default(counted: FakeModel):
    """A question asked twice is sent twice."""
    model = counted.connect()
    assert model.value(2.0) == model.value(2.0)
    assert len(counted.calls) == 2


def test_the_same_question_is_asked_once(counted: FakeModel):
    """Answers are found again by the exact bytes of the question: signature, dtype, shape, numbers."""
    model = counted.connect(memoize=10)
    for _ in range(3):
        assert model.value_and_grad(2.0) == (np.log(2.0), 0.5)
    assert len(counted.calls) == 1
    model.value(2.0)
    model.value_and_grad([2.0, 2.0])
    model.value_and_grad(np.nextafter(2.0, 3.0))
    assert len(counted.calls) == 4
    assert model.value_and_grad([[2.0]])[0].shape == (1, 1)  # the same rows in another form
    assert len(counted.calls) == 4


def test_zeros_of_both_signs_and_every_nan_are_questions_of_their_own(counted: FakeModel):
    """Keys are bytes: 1/-0.0 is -inf, whatever 1/0.0 was; two NaNs are the same only if their bits are."""
    model = counted.connect(memoize=10)
    assert model.value_and_grad(0.0)[1] == np.inf
    assert model.value_and_grad(-0.0)[1] == -np.inf
    one, other = np.array([0x7FF8000000000001, 0x7FF8000000000002], np.uint64).view(np.float64)
    for value in (one, other, one):
        model.value_and_grad(value)
    assert len(counted.calls) == 4


def test_questions_whose_hashes_collide(counted: FakeModel, monkeypatch: pytest.MonkeyPatch):
    """Two questions are never taken for each other, even when every hash is the same."""
    from gradwire._model import cache

    class Same(bytes):
        __slots__ = ()

        def __hash__(self) -> int:
            return 0

    monkeypatch.setattr(cache, "_bytes", lambda array: Same(array.tobytes()))
    model = counted.connect(memoize=10)
    assert [float(model.value(x)) for x in (1.0, 2.0, 1.0, 2.0)] == [0.0, np.log(2.0)] * 2
    assert len(counted.calls) == 2


def test_answers_kept_cannot_be_changed(counted: FakeModel):
    """Every caller gets arrays of his own."""
    model = counted.connect(memoize=10)
    for _ in range(3):
        f, df = model.value_and_grad([1.0, 2.0])
        assert np.array_equal(df, [1.0, 0.5])
        f[...], df[...] = 7, 7


def test_the_oldest_answer_goes_first(counted: FakeModel):
    """No more are kept than were asked for; the one that was used longest ago goes."""
    model = counted.connect(memoize=2)
    for x in (1.0, 2.0, 1.0, 3.0, 1.0):
        model.value(x)
    assert len(counted.calls) == 3
    model.value(2.0)
    assert len(counted.calls) == 4
    assert len(model._cache._responses) == 2


def test_answers_of_one_version_only(stand_in: Any):
    """When another version answers, what was kept of the one before goes."""
    new = stand_in.models["versions"].pop(2)
    with gradwire.connect(stand_in.target, "versions", memoize=10) as log:
        assert log.value(2.0) == log.value(2.0) == np.log(2.0)
        stand_in.models["versions"][2] = new
        assert log.value(3.0) == 2 * np.log(3.0)
        assert log.value(2.0) == 2 * np.log(2.0)
        assert len(stand_in.requests) == 4  # with the card's


def test_a_pickle_keeps_the_options(stand_in: Any):
    """A model that is sent to another process behaves there as here, and takes no answers along."""
    import pickle

    with gradwire.connect(stand_in.target, "log", cast="exact", on_extrapolation="raise", memoize=3) as log:
        log.value(1.0)
        again = pickle.loads(pickle.dumps(log))
    with again, pytest.raises(gradwire.ExtrapolationError):
        again.value(2.0)
    assert again._options == gradwire.Options(cast="exact", on_extrapolation="raise", memoize=3)
