"""A package behind TensorFlow Serving's gRPC services."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, final

import grpc

from gradwire._errors import UsageError
from gradwire._grpc import (
    IN_FLIGHT,
    KEEP_ALIVE,
    MESSAGE_LIMIT,
    Events,
    Flight,
    Limits,
    Window,
    channel_options,
    check_fork,
    compression,
    credentials,
    drive,
    fault_of,
    translate,
)
from gradwire._transports.base import Transport
from gradwire._wire import (
    Call,
    metadata_request,
    predict_request,
    proto,
    read_metadata,
    read_prediction,
    read_status,
    status_request,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._package import Signature
    from gradwire._wire import Address, Prediction, VersionStatus

    _Method = grpc.UnaryUnaryMultiCallable[bytes, bytes]  # a generic for type checkers alone


@final
class GrpcTransport(Transport):
    """Calls a model over gRPC.

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
        self._message_limit = message_limit
        self._in_flight = in_flight
        self._keep_alive = keep_alive
        self._inherited: list[_Line] = []
        self._line: _Line | None = self._connect()

    @property
    def address(self) -> str:
        """The model and its server, for people."""
        return str(self._address)

    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Asks for the signatures; see ``Transport``."""
        data = self._ask(self._open().metadata, metadata_request(self._address), timeout)
        return read_metadata(data, self._address)

    def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout: float,
    ) -> Prediction:
        """Runs a signature; see ``Transport``.

        A call over the message limit travels in pieces, several at once, within the one timeout.
        """
        call, line = Call(signature, inputs, outputs), self._open()
        if line.limits.fits(call) and line.window.take():
            return self._in_one_message(line, call, timeout)
        flight, events = self._flight(line, timeout)
        return self._only(line, flight, events, iter((call,)))

    def stream(self, calls: Iterable[Call], *, timeout: float) -> Iterator[Prediction]:
        """Makes several calls at once; see ``Transport``."""
        line = self._open()
        flight, events = self._flight(line, timeout)
        return drive(flight, events, line.start, iter(calls))

    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version; see ``Transport``."""
        return read_status(self._ask(self._open().status, status_request(self._address), timeout))

    def close(self) -> None:
        """Closes the channel of this process."""
        line, self._line = self._line, None
        if line is not None and line.pid == os.getpid():
            line.channel.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._address, self._message_limit, self._in_flight, self._keep_alive)

    def _open(self) -> _Line:
        """The line of this process: a channel does not outlive a fork, so the child makes its own."""
        line = self._line
        if line is None:
            raise UsageError(f"{self._address} was closed: connect again")
        if line.pid != os.getpid():
            check_fork()
            self._inherited.append(line)  # kept, not closed: closing could wait for threads of the parent
            line = self._line = self._connect()
        return line

    def _connect(self) -> _Line:
        return _Line(self._address, self._message_limit, self._keep_alive)

    def _ask(self, method: _Method, request: bytes, timeout: float) -> bytes:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise translate(fault_of(error), self._address, timeout) from error

    def _in_one_message(self, line: _Line, call: Call, timeout: float) -> Prediction:
        """The short way of a small call, in a place that was taken: no queue, until something goes wrong."""
        began, epoch = time.monotonic(), line.window.epoch
        try:
            data = line.predict(predict_request(self._address, *call), timeout=timeout)
        except grpc.RpcError as error:
            flight, events = self._flight(line, timeout)
            flight.add_failed(call, fault_of(error), began, time.monotonic(), epoch)
            return self._only(line, flight, events, iter(()))
        except BaseException:
            line.window.give()
            raise
        line.window.answered()
        return read_prediction(data)

    def _flight(self, line: _Line, timeout: float) -> tuple[Flight, Events]:
        events = Events()
        flight = Flight(
            self._address,
            line.limits,
            line.window,
            timeout=timeout,
            in_flight=self._in_flight,
            wake=events.wake,
        )
        return flight, events

    def _only(self, line: _Line, flight: Flight, events: Events, calls: Iterator[Call]) -> Prediction:
        [answer] = drive(flight, events, line.start, calls)
        return answer


def _restore(address: Address, message_limit: int, in_flight: int, keep_alive: float) -> GrpcTransport:
    return GrpcTransport(address, message_limit=message_limit, in_flight=in_flight, keep_alive=keep_alive)


@final
class _Line:
    """A channel, its methods, what is known of its server, and the process that all this belongs to."""

    def __init__(self, address: Address, message_limit: int, keep_alive: float) -> None:
        self.pid = os.getpid()
        self.limits = Limits(message_limit)
        self.window = Window()
        self.channel = _channel(address, keep_alive)
        self.predict: _Method = self.channel.unary_unary(proto.PREDICT)
        self.metadata: _Method = self.channel.unary_unary(proto.GET_MODEL_METADATA)
        self.status: _Method = self.channel.unary_unary(proto.GET_MODEL_STATUS)

    def start(self, data: bytes, seconds: float) -> grpc.Future[bytes]:
        """Starts a Predict."""
        return self.predict.future(data, timeout=seconds)


def _channel(address: Address, keep_alive: float) -> grpc.Channel:
    secured, options, packed = (
        credentials(address),
        channel_options(address, keep_alive),
        compression(address),
    )
    if secured is None:
        return grpc.insecure_channel(address.dial(), options, packed)
    return grpc.secure_channel(address.dial(), secured, options, packed)
