"""The asynchronous twin gives what the synchronous client gives, and raises what it raises."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
from gradwire import aio

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(5, 3)), RNG.uniform(0.5, 2.0, 5)
TANGENTS = {"x_dot": RNG.normal(size=(4, 5, 3)), "t_dot": RNG.normal(size=(4, 5))}
COTANGENTS = {"f_bar": RNG.normal(size=5), "w_bar": RNG.normal(size=(5, 2))}


def run(target: str, name: str, work: Callable[[Any], Awaitable[Any]], **kwargs: Any) -> Any:
    """Connects, works, closes, in an event loop of its own."""

    async def go() -> Any:
        async with await aio.connect(target, name, **kwargs) as model:
            return await work(model)

    return asyncio.run(go())


def same(found: Any, expected: Any) -> None:
    """Compares arrays in tuples and dicts, to the last bit."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert np.array_equal(found, expected)
        assert (found.dtype, found.shape, found.flags.writeable) == (expected.dtype, expected.shape, True)


@pytest.mark.parametrize(
    ("method", "named"),
    [
        *((name, {}) for name in ("value", "grad", "value_and_grad", "jacobian", "hessian")),
        ("jvp", TANGENTS),
        ("vjp", COTANGENTS),
        ("hvp", TANGENTS),
    ],
)
def test_every_method(stand_in: Any, method: str, named: dict[str, Any]):
    """Each method is the same as its twin's, on the wire and in what comes back."""
    with gradwire.connect(stand_in.target, "curved") as curved:
        expected = getattr(curved, method)(X, T, **named)
        theirs = stand_in.requests[-1]
    found = run(stand_in.target, "curved", lambda model: getattr(model, method)(X, T, **named))
    same(found, expected)
    assert stand_in.requests[-1] == theirs


def test_both_have_the_same_methods():
    """Whatever one can, the other can, with the same parameters; those that wait are awaited."""
    ours = {name: value for name, value in vars(gradwire.Model).items() if name[0] != "_"}
    theirs = {name: value for name, value in vars(aio.Model).items() if name[0] != "_"}
    assert set(theirs) - set(ours) == {"open"}
    assert set(ours) <= set(theirs)
    for name, value in ours.items():
        if inspect.isfunction(value):
            parameters = [list(inspect.signature(of).parameters) for of in (value, theirs[name])]
            assert parameters[0] == parameters[1], name
            assert inspect.iscoroutinefunction(theirs[name]) or inspect.isasyncgenfunction(theirs[name])


def test_a_pinned_model_keeps_its_version(stand_in: Any):
    """When a new one comes, and under a label."""
    newest = stand_in.models["versions"].pop(2)

    async def go() -> None:
        async with await aio.connect(stand_in.target, "versions") as log, await log.pinned() as pinned:
            stand_in.models["versions"][2] = newest
            assert (await log.value(1.5), await pinned.value(1.5)) == (2 * np.log(1.5), np.log(1.5))
            assert await pinned.pinned() is pinned

    asyncio.run(go())


def test_whole_rows_and_metadata(stand_in: Any):
    """Raw calls, signatures, card and status."""

    async def work(model: aio.Model) -> Any:
        found = await model.predict("value", x=X, t=T[:, None])
        some = await model.run("value", {"x": X, "t": T[:, None]}, ["w"])
        return found, some, await model.status(), list(model.signatures), model.card.name, repr(model)

    found, some, status, signatures, name, shown = run(stand_in.target, "curved", work)
    assert list(found) == ["f", "w"]
    same(some, {"w": found["w"]})
    assert status[-1] == (1, "AVAILABLE", "")
    assert "hessian" in signatures
    assert (name, shown) == ("curved", f"<gradwire.aio.Model curved at {stand_in.target}>")


def test_options(stand_in: Any):
    """Casts, domain and memo are those of the twin."""

    async def work(model: aio.Model) -> None:
        with pytest.raises(gradwire.ExtrapolationError):
            await model.value(2.0)
        with pytest.raises(gradwire.DTypeError, match="'exact'"):
            await model.value(np.longdouble(1) / 3)
        before = len(stand_in.requests)
        assert await model.value(1.5) == await model.value(1.5) == np.log(1.5)
        assert len(stand_in.requests) == before + 1
        assert (await model.value([])).shape == (0,)

    run(stand_in.target, "log", work, cast="exact", on_extrapolation="raise", memoize=5)
    with pytest.raises(gradwire.UsageError, match="on_extrapolation='no'"):
        run(stand_in.target, "log", work, on_extrapolation="no")


def test_a_model_that_is_not_there(stand_in: Any, make_stand_in: Any):
    """A wrong name or address fails in connect."""
    with pytest.raises(gradwire.ModelNotFound, match=r"Latest\(nope\)"):
        run(stand_in.target, "nope", lambda model: model.value(1.0))
    other = make_stand_in()
    other.start().stop(None).wait()
    with pytest.raises(gradwire.ServerUnreachable, match="is it running"):
        run(other.target, "log", lambda model: model.value(1.0))


def test_closed(stand_in: Any):
    """A closed model says so; closing twice is harmless."""

    async def work(model: aio.Model) -> None:
        await model.close()
        await model.close()
        with pytest.raises(gradwire.UsageError, match="was closed"):
            await model.value(1.0)

    run(stand_in.target, "log", work)


def test_many_tasks_share_a_model_and_a_full_server(stand_in: Any):
    """Of 64 calls at once a server of three places refuses most; all are answered, and soon few are refused."""
    busy = refused = 0
    lock = threading.Lock()

    def hook(request: Any, context: grpc.ServicerContext) -> None:
        nonlocal busy, refused
        with lock:
            full = busy >= 3
            refused += full
            busy += not full
        if full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        time.sleep(0.002)
        with lock:
            busy -= 1

    async def work(model: aio.Model) -> None:
        stand_in.hook = hook
        for start in range(1, 1 + 64 * 4, 64):
            x = np.arange(start, start + 64.0)
            assert np.array_equal(await asyncio.gather(*map(model.value, x)), np.log(x))
        transport: Any = model._transport
        assert transport._open().limiter.in_use == 0
        assert transport._open().limiter.limit < 16

    run(stand_in.target, "log", work)
    assert refused < 200


def test_a_package_or_a_fake_in_threads(log: gradwire.Model):
    """Any synchronous transport serves the asynchronous model."""

    async def go() -> Any:
        async with await aio.Model.open(aio.InThreads(log._transport)) as model:
            found = await asyncio.gather(*[model.value_and_grad(float(x)) for x in range(1, 20)])
            return found, await model.status(), repr(model)

    found, status, shown = asyncio.run(go())
    assert found == [(np.log(x), 1 / x) for x in np.arange(1.0, 20.0)]
    assert status == [(1, "AVAILABLE", "")]
    assert "a fake of" in shown
