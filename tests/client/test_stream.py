"""Streams of blocks, through threads and through an event loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
import gradwire.aio
from gradwire import Address, GrpcTransport, Model

Stream = Callable[..., list[Any]]


@pytest.fixture(params=["threads", "asyncio", "asyncio from asyncio"])
def stream(request: pytest.FixtureRequest) -> Stream:
    """Streams blocks through a model, and gives what comes as a list; ``use`` is called with each, then a pause."""

    def threads(address: Address, blocks: Any, args: Any, use: Any, pause: float, timeout: float, line: Any) -> Any:
        found: list[Any] = []
        with Model(GrpcTransport(address, **line), timeout=timeout) as model:
            for one in model.stream(blocks, *args):
                found.append(use(one))
                time.sleep(pause)
        return found

    async def loop(address: Address, blocks: Any, args: Any, use: Any, pause: float, timeout: float, line: Any) -> Any:
        found: list[Any] = []
        options = gradwire.Options(timeout=timeout)
        source = _slowly(blocks, pause / 2) if request.param == "asyncio from asyncio" else blocks
        async with await gradwire.aio.Model.open(gradwire.aio.GrpcTransport(address, **line), options) as model:
            async for one in model.stream(source, *args):
                found.append(use(one))
                await asyncio.sleep(pause)
        return found

    def run(
        target: str,
        name: str,
        blocks: Any,
        *args: Any,
        use: Any = lambda found: found,
        pause: float = 0.0,
        timeout: float = 60.0,
        **line: Any,
    ) -> list[Any]:
        address = Address(target, name)
        if request.param == "threads":
            return threads(address, blocks, args, use, pause, timeout, line)
        return asyncio.run(loop(address, blocks, args, use, pause, timeout, line))

    return run


async def _slowly(blocks: Any, pause: float) -> AsyncIterator[Any]:
    for block in blocks:
        await asyncio.sleep(pause)
        yield block


def test_blocks_come_back_in_order(stand_in: Any, stream: Stream):
    """Whatever order the server answers in, and whatever the sizes of the blocks, none and many pieces included."""
    stand_in.hook = lambda request, context: time.sleep(0.01 * (len(stand_in.requests) % 3))
    sizes = [3, 0, 1, 500, 0, 7, 250, 1, 0]
    blocks = [np.linspace(0.1, 1.9, size) + index for index, size in enumerate(sizes)]
    found = stream(stand_in.target, "log", blocks, message_limit=1600)
    assert len(found) == len(blocks)
    for (f, df), x in zip(found, blocks, strict=True):
        assert np.array_equal(f, np.log(x))
        assert np.array_equal(df, 1 / x)
    assert all(request.inputs["x"].tensor_shape.dim[0].size for request in stand_in.requests[1:])


@pytest.mark.parametrize("method", ["value", "grad", "value_and_grad", "jacobian", "hessian"])
def test_every_method_streams(stand_in: Any, stream: Stream, method: str):
    """Blocks of several inputs are tuples or dicts; what comes is what the method gives."""
    rng = np.random.default_rng(0)
    blocks = [(rng.normal(size=(4, 3)), rng.normal(size=4)) for _ in range(3)]
    with gradwire.connect(stand_in.target, "curved") as curved:
        expected = [getattr(curved, method)(*block) for block in blocks]
    named = [{"x": x, "t": t} for x, t in blocks]
    for given in (blocks, named):
        assert str(stream(stand_in.target, "curved", given, method)) == str(expected)


def test_tangents_stream_too(stand_in: Any, stream: Stream):
    """A block holds the inputs and then their tangents, as the method takes them."""
    rng = np.random.default_rng(0)
    blocks = [tuple(rng.normal(size=shape) for shape in ((4, 3), (4,), (4, 3), (4,))) for _ in range(3)]
    with gradwire.connect(stand_in.target, "curved") as curved:
        expected = [curved.jvp(*block)["w"] for block in blocks]
    found = stream(stand_in.target, "curved", blocks, "jvp")
    assert np.array_equal([one["w"] for one in found], expected)


def test_several_blocks_are_under_way_at_once(stand_in: Any, stream: Stream):
    """The line is busy while the server computes: three blocks at a time by default."""
    busy, most, lock = 0, 0, threading.Lock()

    def hook(request: Any, context: grpc.ServicerContext) -> None:
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.02)
        with lock:
            busy -= 1

    stand_in.hook = hook
    stream(stand_in.target, "log", [np.ones(2)] * 12)
    assert most == 3


def test_no_more_blocks_are_taken_than_are_needed(stand_in: Any, stream: Stream):
    """An endless source is read only a little ahead of what is used."""
    taken = itertools.count()
    used = itertools.count()
    ahead: list[int] = []
    last = 0

    def source() -> Iterator[Any]:
        nonlocal last
        for last in itertools.islice(taken, 50):
            yield np.full(2, 1.0 + last)

    def use(found: Any) -> float:
        ahead.append(last - next(used))
        return float(found[0][0])

    found = stream(stand_in.target, "log", source(), use=use)
    assert found == [np.log(1.0 + index) for index in range(50)]
    assert max(ahead) <= 6


@pytest.mark.slow
def test_a_slow_reader_does_not_run_into_the_deadline(stand_in: Any, stream: Stream):
    """The timeout is for each block, and does not run while an answer is used or the next block is made."""
    blocks = [np.linspace(0.1, 1.9, 500)] * 2
    assert len(stream(stand_in.target, "log", blocks, pause=1.6, timeout=1.5, message_limit=1600)) == 2


@pytest.mark.slow
def test_a_call_that_ran_out_while_nobody_looked(stand_in: Any):
    """A piece that failed while an answer was used is sent again, though its deadline has gone by meanwhile."""

    def hook(request: Any, context: grpc.ServicerContext) -> None:
        if len(stand_in.requests) == 4:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        if len(stand_in.requests) == 5:
            time.sleep(2.0)

    stand_in.hook = hook
    with gradwire.connect(stand_in.target, "log") as log:
        log.card  # noqa: B018 - the requests that count come after
        patient = Model(log._transport, timeout=1.5)
        patient.signatures  # noqa: B018 - as above
        found = []
        for f, _ in patient.stream([np.ones(2)] * 6):
            found.append(f)
            time.sleep(2.5 if len(found) == 1 else 0.0)
    assert np.array_equal(found, np.zeros((6, 2)))


def test_a_block_that_fails_ends_the_stream(stand_in: Any, stream: Stream):
    """The error is the block's, and the blocks before it have been handed over."""
    got: list[float] = []

    def source() -> Iterator[Any]:
        yield np.ones(2)
        yield np.ones((2, 2))

    with pytest.raises(gradwire.ShapeError, match=r"\(2, 2\)"):
        stream(stand_in.target, "log", source(), use=lambda found: got.append(found[0][0]))
    with pytest.raises(gradwire.UsageError, match="stream of 'no', expected one of"):
        stream(stand_in.target, "log", [1.0], "no")


def test_a_source_that_fails(stand_in: Any, stream: Stream):
    """What the source raises comes out of the stream as it is."""

    def source() -> Iterator[Any]:
        yield np.ones(2)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        stream(stand_in.target, "log", source())


def test_a_stream_that_is_left(stand_in: Any):
    """A loop that breaks off cancels what is under way, and the model goes on."""
    with gradwire.connect(stand_in.target, "log") as log:
        for _ in range(3):
            for index, _ in enumerate(log.stream(itertools.repeat(np.ones(2)))):
                if index == 5:
                    break
        assert log.value(1.0) == 0
        transport: Any = log._transport
        assert transport._session.limiter.in_use == 0


def test_a_stream_that_is_left_in_a_loop(stand_in: Any):
    """The same in an event loop, and when the task is cancelled."""

    async def go() -> None:
        async with await gradwire.aio.connect(stand_in.target, "log") as log:
            async for _ in log.stream(itertools.repeat(np.ones(2))):
                break
            stand_in.hook = lambda request, context: time.sleep(0.2)
            task = asyncio.ensure_future(log.value_and_grad(np.ones(2)))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            stand_in.hook = lambda request, context: None
            assert await log.value(1.0) == 0
            await asyncio.sleep(0)
            transport: Any = log._transport
            assert transport._open().limiter.in_use == 0

    asyncio.run(go())


def test_calls_in_the_middle_of_a_stream(stand_in: Any):
    """Whoever asks the same model for more while an answer is used is never kept waiting by the stream itself."""
    busy, lock = 0, threading.Lock()

    def hook(request: Any, context: grpc.ServicerContext) -> None:
        nonlocal busy
        with lock:
            busy += 1
            full = busy > 1
        time.sleep(0.002)
        with lock:
            busy -= 1
        if full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")

    async def go() -> None:
        async with await gradwire.aio.connect(stand_in.target, "log", timeout=20.0) as log:
            async for _ in log.stream([np.ones(2)] * 20):
                assert await log.value(1.0) == 0

    with gradwire.connect(stand_in.target, "log", timeout=20.0) as log:
        stand_in.hook = hook
        for _ in log.stream(np.full(2, log.value(1.0) + 1) for _ in range(20)):
            assert log.value(1.0) == 0
    asyncio.run(go())


def test_streams_without_a_server(log: Model):
    """Any transport streams: one block after the other."""
    blocks = [np.ones(2), np.empty(0), 2.0]
    assert [found.shape for found in log.stream(blocks, "value")] == [(2,), (0,), ()]

    async def go() -> list[Any]:
        model = await gradwire.aio.Model.open(gradwire.aio.InThreads(log._transport))
        return [found.shape async for found in model.stream(blocks, "value")]

    assert asyncio.run(go()) == [(2,), (0,), ()]
