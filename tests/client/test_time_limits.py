"""Every operation ends at its timeout: a server that never answers, asked for everything by both clients."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
import gradwire.aio
from gradwire import Address, Call, Signature, TensorSpec
from gradwire._grpc.runner import Events

GIVES_UP = 8.0  # seconds, after which the silent server refuses what still waits, so that a lost timeout is no hang
TENSORS = {name: TensorSpec(name, "float64", (None, 1)) for name in ("x", "f")}
VALUE = Signature("value", {"x": TENSORS["x"]}, {"f": TENSORS["f"]})
# Of 600 rows three chunks are made, which are all under way at once: nothing but their own timeouts ends them.
SMALL, LARGE = (Call(VALUE, {"x": np.ones((rows, 1))}) for rows in (1, 600))

OPERATIONS: dict[str, Callable[[Any, float], Any]] = {
    "signatures": lambda transport, timeout: transport.signatures(timeout=timeout),
    "status": lambda transport, timeout: transport.status(timeout=timeout),
    "a small call": lambda transport, timeout: transport.predict(SMALL, timeout=timeout),
    "a call in chunks": lambda transport, timeout: transport.predict(LARGE, timeout=timeout),
    "a stream": lambda transport, timeout: list(transport.stream([SMALL, LARGE], timeout=timeout)),
}


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The address of a gRPC server that accepts every call and answers none."""
    over = threading.Event()

    def wait(data: bytes, context: grpc.ServicerContext) -> bytes:
        over.wait(GIVES_UP)
        context.abort(grpc.StatusCode.INTERNAL, "nobody gave up in time")

    class Everything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(wait)

    server = grpc.server(ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers((Everything(),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield target
    over.set()
    server.stop(None).wait()


@pytest.mark.slow
@pytest.mark.parametrize("timeout", [0.3, 0.0005])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_never_answers(silent: str, operation: str, timeout: float):
    """Whatever is asked for ends with DeadlineExceeded; a timeout below a millisecond is one, too."""
    transport = gradwire.GrpcTransport(Address(silent, "log"), message_limit=1600)
    began = time.monotonic()
    with pytest.raises(gradwire.DeadlineExceeded, match=rf"within {timeout:g} s"):
        OPERATIONS[operation](transport, timeout)
    assert time.monotonic() - began < GIVES_UP / 2
    transport.close()


@pytest.mark.slow
@pytest.mark.parametrize("timeout", [0.3, 0.0005])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_never_answers_an_event_loop(silent: str, operation: str, timeout: float):
    """The same, awaited."""

    async def calls() -> Any:
        for call in (SMALL, LARGE):
            yield call

    async def go() -> None:
        transport = gradwire.aio.GrpcTransport(Address(silent, "log"), message_limit=1600)
        try:
            if operation == "a stream":
                async for _ in transport.stream(calls(), timeout=timeout):
                    pass
            else:
                await OPERATIONS[operation](transport, timeout)
        finally:
            await transport.close()

    began = time.monotonic()
    with pytest.raises(gradwire.DeadlineExceeded, match=rf"within {timeout:g} s"):
        asyncio.run(go())
    assert time.monotonic() - began < GIVES_UP / 2


class Timed(gradwire.Transport):
    """Another transport, which notes the timeout of each operation."""

    def __init__(self, inner: gradwire.Transport) -> None:
        self.inner = inner
        self.timeouts: dict[str, float] = {}

    @property
    def address(self) -> str:
        return self.inner.address

    def signatures(self, *, timeout: float) -> Any:
        self.timeouts["signatures"] = timeout
        return self.inner.signatures(timeout=timeout)

    def predict(self, call: Call, *, timeout: float) -> Any:
        self.timeouts[call.signature.name] = timeout
        return self.inner.predict(call, timeout=timeout)

    def stream(self, calls: Any, *, timeout: float) -> Any:
        self.timeouts["stream"] = timeout
        return self.inner.stream(calls, timeout=timeout)

    def status(self, *, timeout: float) -> Any:
        self.timeouts["status"] = timeout
        return self.inner.status(timeout=timeout)

    def close(self) -> None:
        self.inner.close()


def test_the_default_is_a_minute(log: gradwire.Model):
    """Nobody who gives no timeout waits forever: each operation has 60 s, the card's included."""
    transport = Timed(log._transport)
    model = gradwire.Model(transport)
    model.card  # noqa: B018 - the request is the test
    model.value(1.0)
    model.status()
    list(model.stream([1.0]))
    expected = dict.fromkeys(("signatures", "card", "value", "status", "stream"), 60.0)
    assert transport.timeouts == expected
    transport.timeouts.clear()

    async def go() -> None:
        model = await gradwire.aio.Model.open(gradwire.aio.InThreads(transport))
        await model.value(1.0)
        await model.status()

    asyncio.run(go())
    assert transport.timeouts == {name: 60.0 for name in expected if name != "stream"}
    for function in (gradwire.connect, gradwire.load, gradwire.aio.connect, gradwire.aio.load):
        assert inspect.signature(function).parameters["timeout"].default == 60.0


@pytest.mark.parametrize("rows", [1, 1000])
def test_ctrl_c_gives_the_slot_back(stand_in: Any, rows: int, monkeypatch: pytest.MonkeyPatch):
    """Whoever interrupts a call while it waits, small or in chunks, leaves no slot of the limiter taken.

    The interrupt is raised where the client waits: a signal may also hit gRPC in its own locks, which it then keeps.
    """

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    transport = gradwire.GrpcTransport(Address(stand_in.target, "log"), message_limit=1600)
    with gradwire.Model(transport) as log:
        log.card  # noqa: B018 - asked for before the interrupt
        session = transport._session
        assert session is not None
        with monkeypatch.context() as patch:
            if rows == 1:
                patch.setattr(session, "predict", interrupt)
            patch.setattr(Events, "wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                log.value_and_grad(np.ones(rows))
        assert session.limiter.in_use == 0
        assert np.array_equal(log.value(np.ones(rows)), np.zeros(rows))
