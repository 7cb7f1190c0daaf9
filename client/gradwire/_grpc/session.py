"""A connection to a server and what is known of that server: all that the gRPC transports do but send and wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, final

import grpc

from gradwire._grpc.channel import open_channel, open_method
from gradwire._grpc.chunking import MessageLimits
from gradwire._grpc.explain import METADATA, explain
from gradwire._grpc.limiter import AimdLimiter
from gradwire._grpc.scheduler import CallScheduler
from gradwire._grpc.status import status_of
from gradwire._wire import Address, Call, PredictCodec, Prediction, proto


@final
class GrpcSession:
    """A channel, its methods, and how much and how often its server may be sent.

    Args:
        address: which model, and where.
        message_limit: bytes; larger calls are split into chunks.
        in_flight: how many chunks of one call are under way at once.
        keep_alive: seconds of silence during a call after which the server is pinged.
        asynchronous: whether the methods are awaited.

    Attributes:
        channel: gRPC's.
        predict: takes and returns bytes, as do the other methods.
        requests: the methods for signatures and states, by gRPC's path.
        limiter: of the calls under way.
        codec: of the messages.
        process: the id of the process that it belongs to; a channel does not outlive a fork.

    Raises:
        UsageError: the files of ``address.tls`` cannot be read.
        ServerUnreachable: one of several servers has an unknown name.
    """

    def __init__(
        self, address: Address, message_limit: int, in_flight: int, keep_alive: float, *, asynchronous: bool
    ) -> None:
        self._address = address
        self._in_flight = in_flight
        self._limits = MessageLimits(message_limit)
        self.limiter = AimdLimiter()
        self.codec = PredictCodec(address)
        self.process = os.getpid()
        self.channel: Any = open_channel(address, keep_alive, asynchronous=asynchronous)
        self.predict: Any = open_method(self.channel, proto.PREDICT, address)
        self.requests: Mapping[str, Any] = {
            path: open_method(self.channel, path, address)
            for path in (proto.GET_MODEL_METADATA, proto.GET_MODEL_STATUS)
        }

    def scheduler(self, timeout: float, wake: Callable[[], None]) -> CallScheduler:
        """Return a scheduler for calls of this session.

        Args:
            timeout: seconds for each call.
            wake: as for ``CallScheduler``.
        """
        return CallScheduler(
            self.codec, self._limits, self.limiter, timeout=timeout, in_flight=self._in_flight, wake=wake
        )

    def begin(self, call: Call) -> DirectCall | None:
        """Begin a call that fits into one message while a slot is free; None for the way through a scheduler."""
        return DirectCall(self, call) if self._limits.fits(call) and self.limiter.acquire() else None

    def translate(self, error: grpc.RpcError, timeout: float) -> Exception:
        """Return the error to raise for one that gRPC raised when signatures or states were requested.

        Args:
            error: gRPC's.
            timeout: seconds that the caller allowed.
        """
        return explain(status_of(error), self._address, timeout, METADATA)


@final
class DirectCall:
    """The short way of a small call: a slot of the limiter, and no queue until something goes wrong.

    Exactly one of ``on_response``, ``on_failure`` and ``abandon`` is to be called; each gives the slot back.
    """

    def __init__(self, session: GrpcSession, call: Call) -> None:
        self._limiter = session.limiter
        self._codec = session.codec
        self._call = call
        self._began = time.monotonic()
        self._epoch = session.limiter.epoch

    def request(self) -> bytes:
        """Write the message."""
        return self._codec.request(self._call)

    def on_response(self, data: bytes) -> Prediction:
        """Read the response.

        Raises:
            ServerError: it is not one.
        """
        self._limiter.on_response()
        return self._codec.read(data, self._call, self._call.rows)

    def on_failure(self, error: grpc.RpcError, scheduler: CallScheduler) -> None:
        """Hand the call over to a scheduler.

        Raises:
            GradwireError: nothing helps, or not in time.
        """
        scheduler.add_failed(self._call, status_of(error), began=self._began, now=time.monotonic(), epoch=self._epoch)

    def abandon(self) -> None:
        """Give the slot back, for the caller gave up."""
        self._limiter.release()
