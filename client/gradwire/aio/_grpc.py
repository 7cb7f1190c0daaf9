"""A package behind TensorFlow Serving's gRPC services, over gRPC's own asynchronous channel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, final
from weakref import WeakKeyDictionary

import grpc
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire._grpc import (
    IN_FLIGHT,
    KEEP_ALIVE,
    MESSAGE_LIMIT,
    CallSpans,
    GrpcSession,
    RequestSpan,
    check_loop,
    is_tracing,
)
from gradwire._package import Signature
from gradwire._wire import (
    Address,
    Call,
    Prediction,
    VersionStatus,
    metadata_request,
    proto,
    read_metadata,
    read_status,
    read_version,
    status_request,
)
from gradwire.aio._runner import Runner
from gradwire.aio._transport import Transport


@final
class GrpcTransport(Transport):
    """Calls a model over gRPC; ``gradwire.GrpcTransport``, awaited.

    An asynchronous channel belongs to its event loop: each loop that it is used in gets one of its own. It is
    pickled as its address.

    Args:
        address: which model, and where.
        message_limit: bytes; larger calls are split into chunks.
        in_flight: how many chunks of one call are under way at once.
        keep_alive: seconds of silence during a call after which the server is pinged; half as long after that without
            a reply it counts as gone.

    Raises:
        UsageError: the files of ``address.tls`` cannot be read.
        ServerUnreachable: one of several servers has an unknown name.
    """

    def __init__(
        self,
        address: Address,
        *,
        message_limit: int = MESSAGE_LIMIT,
        in_flight: int = IN_FLIGHT,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self._address = address
        self._settings: dict[str, Any] = {
            "message_limit": message_limit,
            "in_flight": in_flight,
            "keep_alive": keep_alive,
        }
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, GrpcSession] = WeakKeyDictionary()
        self._is_open = True

    @property
    @override
    def address(self) -> str:
        return str(self._address)

    @property
    @override
    def version(self) -> int | None:
        return self._address.version

    @override
    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        session = self._open()
        data = await self._send(session, proto.GET_MODEL_METADATA, metadata_request(self._address), timeout)
        return read_metadata(data, self._address)

    @override
    async def predict(self, call: Call, *, timeout: float) -> Prediction:
        if not is_tracing():
            return await self._predict(call, timeout)
        with CallSpans(self._address) as spans:
            return spans.end(await self._predict(spans.begin(call), timeout))

    async def _predict(self, call: Call, timeout: float) -> Prediction:
        session = self._open()
        direct = session.begin(call)
        if direct is None:
            return await _only(Runner(session, timeout, _one(call)))
        try:
            metadata = () if call.span is None else call.span.metadata
            data = await session.predict(direct.request(), timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            failure = error  # handled below, so that gRPC's traceback does not stand above the message
        except BaseException:
            direct.abandon()
            raise
        else:
            return direct.on_response(data)
        runner = Runner(session, timeout, None)
        direct.on_failure(failure, runner.scheduler)
        return await _only(runner)

    @override
    async def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Prediction]:
        with CallSpans(self._address) as spans:
            traced = (spans.begin(call) async for call in calls)
            async with aclosing(Runner(self._open(), timeout, traced).run()) as predictions:
                async for prediction in predictions:
                    yield spans.end(prediction)

    @override
    async def status(self, *, timeout: float) -> list[VersionStatus]:
        request = status_request(self._address)
        return read_status(await self._send(self._open(), proto.GET_MODEL_STATUS, request, timeout))

    @override
    async def pinned(self, *, timeout: float) -> GrpcTransport:
        if self._address.version is not None:
            return self
        session = self._open()
        data = await self._send(session, proto.GET_MODEL_METADATA, metadata_request(self._address), timeout)
        return GrpcTransport(read_version(data, self._address), **self._settings)

    @override
    async def close(self) -> None:
        self._is_open = False
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None and session.process == os.getpid():
            await session.channel.close()

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return partial(GrpcTransport, **self._settings), (self._address,)

    def _open(self) -> GrpcSession:
        """Return the session of the running loop, in this process."""
        if not self._is_open:
            raise UsageError(f"{self._address} was closed: connect again")
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.process != os.getpid():
            check_loop()
            session = self._sessions[loop] = GrpcSession(self._address, **self._settings, asynchronous=True)
        return session

    async def _send(self, session: GrpcSession, path: str, request: bytes, timeout: float) -> bytes:
        with RequestSpan(path, self._address) as span:
            try:
                return await session.requests[path](request, timeout=timeout, metadata=span.metadata)
            except grpc.RpcError as error:
                raise session.translate(error, timeout) from None


async def _only(runner: Runner) -> Prediction:
    [prediction] = [prediction async for prediction in runner.run()]
    return prediction


async def _one(call: Call) -> AsyncIterator[Call]:
    yield call
