"""A package behind TensorFlow Serving's gRPC services, over gRPC's own asynchronous channel."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, final

import grpc
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire._grpc import IN_FLIGHT, KEEP_ALIVE, MESSAGE_LIMIT, GrpcSession
from gradwire._package import Signature
from gradwire._wire import (
    Address,
    Call,
    Prediction,
    VersionStatus,
    metadata_request,
    read_metadata,
    read_status,
    status_request,
)
from gradwire.aio._runner import Runner
from gradwire.aio._transport import Transport


@final
class GrpcTransport(Transport):
    """Calls a model over gRPC, from the event loop in which it was made; ``gradwire.GrpcTransport``, awaited.

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
        self._session = GrpcSession(address, message_limit, in_flight, keep_alive, asynchronous=True)
        self._is_open = True

    @property
    @override
    def address(self) -> str:
        return str(self._address)

    @override
    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        data = await self._send(self._session.metadata, metadata_request(self._address), timeout)
        return read_metadata(data, self._address)

    @override
    async def predict(self, call: Call, *, timeout: float) -> Prediction:
        self._check_open()
        direct = self._session.begin(call)
        if direct is None:
            return await _only(Runner(self._session, timeout, _one(call)))
        try:
            data = await self._session.predict(direct.request(), timeout=timeout)
        except grpc.RpcError as error:
            runner = Runner(self._session, timeout, None)
            direct.on_failure(error, runner.scheduler)
            return await _only(runner)
        except BaseException:
            direct.abandon()
            raise
        return direct.on_response(data)

    @override
    def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Prediction]:
        self._check_open()
        return Runner(self._session, timeout, calls).run()

    @override
    async def status(self, *, timeout: float) -> list[VersionStatus]:
        return read_status(await self._send(self._session.status, status_request(self._address), timeout))

    @override
    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._session.channel.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise UsageError(f"{self._address} was closed: connect again")

    async def _send(self, method: Any, request: bytes, timeout: float) -> bytes:
        self._check_open()
        try:
            return await method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise self._session.translate(error, timeout) from error


async def _only(runner: Runner) -> Prediction:
    [prediction] = [prediction async for prediction in runner.run()]
    return prediction


async def _one(call: Call) -> AsyncIterator[Call]:
    yield call
