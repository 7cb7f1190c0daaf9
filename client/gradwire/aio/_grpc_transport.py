"""A package behind TensorFlow Serving's gRPC services, over gRPC's own asynchronous channel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import grpc

from gradwire._errors import UsageError
from gradwire._grpc import (
    IN_FLIGHT,
    KEEP_ALIVE,
    MESSAGE_LIMIT,
    Flight,
    Limits,
    Window,
    channel_options,
    compression,
    credentials,
    fault_of,
    translate,
)
from gradwire._wire import (
    metadata_request,
    predict_request,
    proto,
    read_metadata,
    read_prediction,
    read_status,
    status_request,
)
from gradwire.aio._driver import Driver
from gradwire.aio._transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from gradwire._package import Signature
    from gradwire._wire import Address, Call, Prediction, VersionStatus

    _Method = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]  # a generic for type checkers alone


@final
class GrpcTransport(Transport):
    """Calls a model over gRPC, from the event loop in which it was made.

    Args:
        address: which model, and where.
        message_limit: bytes; larger calls are cut into several.
        in_flight: how many pieces of one call are under way at once.
        keep_alive: seconds of silence during a call after which the server is asked whether it is still there; half
            as long after that it counts as gone.

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
        self._in_flight = in_flight
        self._limits = Limits(message_limit)
        self._window = Window()
        self._is_open = True
        self._channel = _channel(address, keep_alive)
        self._predict: _Method = self._channel.unary_unary(proto.PREDICT)
        self._metadata: _Method = self._channel.unary_unary(proto.GET_MODEL_METADATA)
        self._status: _Method = self._channel.unary_unary(proto.GET_MODEL_STATUS)

    @property
    def address(self) -> str:
        """The model and its server, for people."""
        return str(self._address)

    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Asks for the signatures; see ``gradwire.Transport``."""
        data = await self._ask(self._metadata, metadata_request(self._address), timeout)
        return read_metadata(data, self._address)

    async def predict(self, call: Call, *, timeout: float) -> Prediction:
        """Runs a signature; see ``gradwire.GrpcTransport``."""
        self._check_open()
        if not (self._limits.fits(call) and self._window.take()):
            return await self._only(self._driver(_one(call), timeout))
        began, epoch = time.monotonic(), self._window.epoch
        try:
            data = await self._predict(predict_request(self._address, *call), timeout=timeout)
        except grpc.RpcError as error:
            driver = self._driver(_none(), timeout)
            driver.flight.add_failed(call, fault_of(error), began, time.monotonic(), epoch)
            return await self._only(driver)
        except BaseException:
            self._window.give()
            raise
        self._window.answered()
        return read_prediction(data)

    def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Prediction]:
        """Makes several calls at once; see ``gradwire.Transport``."""
        self._check_open()
        return self._driver(calls, timeout).run()

    async def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version; see ``gradwire.Transport``."""
        return read_status(await self._ask(self._status, status_request(self._address), timeout))

    async def close(self) -> None:
        """Closes the channel."""
        if self._is_open:
            self._is_open = False
            await self._channel.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise UsageError(f"{self._address} was closed: connect again")

    async def _ask(self, method: _Method, request: bytes, timeout: float) -> bytes:
        self._check_open()
        try:
            return await method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise translate(fault_of(error), self._address, timeout) from error

    def _driver(self, calls: AsyncIterator[Call], timeout: float) -> Driver:
        def make(wake: Callable[[], None]) -> Flight:
            return Flight(
                self._address,
                self._limits,
                self._window,
                timeout=timeout,
                in_flight=self._in_flight,
                wake=wake,
            )

        def send(data: bytes, seconds: float) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
            return self._predict(data, timeout=seconds)

        return Driver(make, send, calls)

    async def _only(self, driver: Driver) -> Prediction:
        [answer] = [answer async for answer in driver.run()]
        return answer


async def _one(call: Call) -> AsyncIterator[Call]:
    yield call


async def _none() -> AsyncIterator[Call]:
    return
    yield  # makes it an iterator


def _channel(address: Address, keep_alive: float) -> grpc.aio.Channel:
    secured, options, packed = (
        credentials(address),
        channel_options(address, keep_alive),
        compression(address),
    )
    if secured is None:
        return grpc.aio.insecure_channel(address.dial(), options, packed)
    return grpc.aio.secure_channel(address.dial(), secured, options, packed)
