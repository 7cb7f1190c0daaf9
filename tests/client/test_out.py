"""`out=`: results in the caller's arrays, all of them or none touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import Address, GrpcTransport, Model

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(5, 3)), RNG.uniform(0.5, 2.0, 5)


def like(result: Any, array: Callable[[np.ndarray], np.ndarray] = lambda part: np.full_like(part, 7.0)) -> Any:
    """Arrays in the form of a result."""
    if isinstance(result, dict):
        return {name: like(result[name], array) for name in reversed(result)}  # the order of names is the caller's
    if isinstance(result, tuple):
        return tuple(like(part, array) for part in result)
    return array(result)


def strided(part: np.ndarray) -> np.ndarray:
    """An array of the same shape whose elements lie apart."""
    return np.full((*part.shape, 2), 7.0)[..., 0]


def leaves(result: Any) -> list[np.ndarray]:
    """All arrays of a result, names sorted."""
    if isinstance(result, dict):
        return [leaf for name in sorted(result) for leaf in leaves(result[name])]
    return [leaf for part in result for leaf in leaves(part)] if isinstance(result, tuple) else [result]


CALLS: dict[str, Callable[..., Any]] = {
    "value": lambda model, **out: model.value(X, T, **out),
    "one": lambda model, **out: model.grad(X, T, wrt="x", of="w", **out),
    "both": lambda model, **out: model.value_and_grad(X, T, **out),
    "jacobian": lambda model, **out: model.jacobian(X, T, **out),
    "many tangents": lambda model, **out: model.jvp(X, T, t_dot=np.ones((4, 5)), **out),
    "vjp": lambda model, **out: model.vjp(X, T, f_bar=np.ones(5), **out),
    "hvp": lambda model, **out: model.hvp(X, T, x_dot=X, **out),
    "hessian": lambda model, **out: model.hessian(X, T, **out),
}


@pytest.mark.parametrize("array", [lambda part: np.full_like(part, 7.0), strided], ids=["in order", "strided"])
@pytest.mark.parametrize("call", CALLS)
def test_every_method_writes_where_it_is_told(curved: Model, call: str, array: Callable[..., np.ndarray]):
    """The arrays are returned, in the form in which they were given, with the bits of the result."""
    expected = CALLS[call](curved)
    out = like(expected, array)
    before = leaves(out)
    assert CALLS[call](curved, out=out) is out
    for mine, then, theirs in zip(leaves(out), before, leaves(expected), strict=True):
        assert mine is then
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty(5), gradwire.UsageError, r"out is of type ndarray, expected the form of the result: a tuple of 2"),
        ((np.empty(5),), gradwire.UsageError, "out is a tuple of 1"),
        (({"f": np.empty(5)}, {}), gradwire.UsageError, r"out\[0\] is a dict of \['f'\].*a dict of \['f', 'w'\]"),
    ],
)
def test_another_form(curved: Model, out: Any, error: type[Exception], message: str):
    """What has another form than the result is refused, with the place."""
    with pytest.raises(error, match=message):
        curved.value_and_grad(X, T, out=out)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty(4), gradwire.ShapeError, r"out has shape \(4,\), expected \(5,\)"),
        (np.empty((5, 1)), gradwire.ShapeError, r"out has shape \(5, 1\)"),
        (np.empty(5, np.float32), gradwire.DTypeError, "out has dtype float32, expected the server's, float64"),
        ([1.0] * 5, gradwire.UsageError, "out is of type list.*an array"),
        (np.broadcast_to(0.0, 5), gradwire.UsageError, "out is read-only"),
    ],
)
def test_arrays_that_do_not_fit(log: Model, out: Any, error: type[Exception], message: str):
    """Shape, dtype and writability are checked before anything is sent."""
    with pytest.raises(error, match=message):
        log.value(np.linspace(0.5, 1.5, 5), out=out)


def test_arrays_that_overlap(log: Model):
    """Two results in one place are refused; an input in the place of a result is read before it is written."""
    both = np.empty(6)
    with pytest.raises(gradwire.UsageError, match="two arrays of out share memory"):
        log.value_and_grad(np.linspace(0.5, 1.5, 4), out=(both[:4], both[2:]))
    x = np.linspace(0.5, 1.5, 4)
    expected = log.value(x)
    assert log.value(x, out=x) is x
    assert np.array_equal(x, expected)


def test_no_points_and_one_point(log: Model):
    """No rows, and a single one, have a place too."""
    empty, one = np.empty(0), np.empty(())
    assert log.value(np.empty(0), out=empty) is empty
    assert log.value(2.0, out=one) is one
    assert one == np.log(2.0)


def test_cached_responses_are_written_too(make_log: Callable[..., Model]):
    """A response from the cache goes where it is told, and the cache holds copies of its own."""
    model = Model(make_log()._transport, memoize=10)
    x, out = np.linspace(0.5, 1.5, 4), np.empty(4)
    first = model.value(x)
    model.value(x, out=out)
    assert np.array_equal(out, np.log(x))
    out[:] = first[:] = 0
    assert np.array_equal(model.value(x), np.log(x))
    assert model.value(x).flags.writeable


def test_sizes_that_are_open():
    """Where the package does not tell the size of a result, there is no place to check."""
    signature = gradwire.Signature(
        "value",
        {"x": gradwire.TensorSpec("x", "float64", (None, None))},
        {"y": gradwire.TensorSpec("y", "float64", (None, None))},
    )
    model = Model(gradwire.FakeTransport({"value": lambda x: {"y": x}}, signatures=[signature]))
    with pytest.raises(gradwire.UsageError, match="leaves the size of 'y' open"):
        model.value(np.ones((2, 3)), out=np.empty((2, 3)))


@pytest.mark.parametrize("limit", [1 << 22, 1 << 10], ids=["one message", "chunks"])
def test_over_grpc(stand_in: Any, limit: int):
    """In one message or in chunks the values go right into the caller's arrays, an input's memory among them."""
    memory = RNG.uniform(0.5, 1.5, 1500)
    x, out = memory[:1000], (np.empty(1000), memory[500:])
    with Model(GrpcTransport(Address(stand_in.target, "log"), message_limit=limit)) as log:
        expected = log.value_and_grad(x)
        log.value_and_grad(x, out=out)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(out, expected, strict=True))
    assert len(stand_in.requests) == (3 if limit > 1 << 20 else 1 + 2 * 16)


def test_chunks_are_put_together_in_the_callers_array(stand_in: Any, monkeypatch: pytest.MonkeyPatch):
    """No other array of the whole size is made."""
    x, out = RNG.uniform(0.5, 1.5, 1000), np.empty(1000)
    with Model(GrpcTransport(Address(stand_in.target, "log"), message_limit=1 << 10)) as log:
        log.value(x)
        monkeypatch.setattr("gradwire._grpc.call.np", None)
        assert log.value(x, out=out) is out
    assert np.array_equal(out, np.log(x))
