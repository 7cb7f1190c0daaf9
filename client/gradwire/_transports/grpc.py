"""A package behind TensorFlow Serving's gRPC services."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any, final

import grpc
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire._grpc import (
    GATE,
    IN_FLIGHT,
    KEEP_ALIVE,
    MESSAGE_LIMIT,
    CallSpans,
    DirectCall,
    Events,
    GrpcSession,
    Outgoing,
    Pairs,
    RequestSpan,
    check_fork,
    is_tracing,
    run_calls,
)
from gradwire._package import Signature
from gradwire._transports.base import Transport
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


@final
class GrpcTransport(Transport):
    """Calls a model over gRPC. A large call travels in chunks, several at once, within the one timeout.

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
        self._abandoned: list[GrpcSession] = []  # held, not closed: closing could wait for threads that are gone
        self._session: GrpcSession | None = self._connect()

    @property
    @override
    def address(self) -> str:
        return str(self._address)

    @property
    @override
    def version(self) -> int | None:
        return self._address.version

    @override
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        session = self._open()
        data = self._send(session, proto.GET_MODEL_METADATA, metadata_request(self._address), timeout)
        return read_metadata(data, self._address)

    @override
    def predict(self, call: Call, *, timeout: float) -> Prediction:
        if not is_tracing():
            return self._predict(call, timeout)
        with CallSpans(self._address) as spans:
            return spans.end(self._predict(spans.begin(call), timeout))

    def _predict(self, call: Call, timeout: float) -> Prediction:
        session = self._open()
        direct = session.begin(call)
        if direct is None:
            [prediction] = self._run(session, timeout, (call,))
            return prediction
        try:
            metadata = () if call.span is None else call.span.metadata
            data = self._block(session, session.predict, direct.request(), timeout, metadata)
        except grpc.RpcError as error:
            failure = error  # handled below, so that gRPC's traceback does not stand above the message
        except BaseException:
            direct.abandon()
            raise
        else:
            return direct.on_response(data)
        [prediction] = self._run(session, timeout, (), failed=(direct, failure))
        return prediction

    @override
    def stream(self, calls: Iterable[Call], *, timeout: float) -> Iterator[Prediction]:
        with (
            CallSpans(self._address) as spans,
            closing(self._run(self._open(), timeout, map(spans.begin, calls))) as predictions,
        ):
            for prediction in predictions:
                yield spans.end(prediction)

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        request = status_request(self._address)
        return read_status(self._send(self._open(), proto.GET_MODEL_STATUS, request, timeout))

    @override
    def pinned(self, *, timeout: float) -> GrpcTransport:
        if self._address.version is not None:
            return self
        session = self._open()
        data = self._send(session, proto.GET_MODEL_METADATA, metadata_request(self._address), timeout)
        return GrpcTransport(read_version(data, self._address), **self._settings)

    @override
    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.process == os.getpid():
            session.channel.close()

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return partial(GrpcTransport, **self._settings), (self._address,)

    def _open(self) -> GrpcSession:
        """Return the session of this process: a channel does not outlive a fork, so the child opens its own."""
        session = self._session
        if session is None:
            raise UsageError(f"{self._address} was closed: connect again")
        if session.process != os.getpid():
            check_fork()
            self._replace(session)
            return self._open()
        return session

    def _replace(self, session: GrpcSession) -> None:
        """Open a new session in the place of one that is of no use any more; once, and not after ``close``."""
        if self._session is session:
            self._abandoned.append(session)
            self._session = self._connect()

    def _block(self, session: GrpcSession, method: Any, request: bytes, timeout: float, metadata: Pairs = ()) -> bytes:
        """Make a call in this thread; an interrupt inside gRPC leaves a channel that may never answer again."""
        message = object()
        GATE.enter(message)
        try:
            return method(request, timeout=timeout, metadata=metadata)
        except Exception:
            raise
        except BaseException:
            self._replace(session)
            raise
        finally:
            GATE.leave(message)

    def _connect(self) -> GrpcSession:
        return GrpcSession(self._address, **self._settings, asynchronous=False)

    def _send(self, session: GrpcSession, path: str, request: bytes, timeout: float) -> bytes:
        with RequestSpan(path, self._address) as span:
            try:
                return self._block(session, session.requests[path], request, timeout, span.metadata)
            except grpc.RpcError as error:
                raise session.translate(error, timeout) from None

    def _run(
        self,
        session: GrpcSession,
        timeout: float,
        calls: Iterable[Call],
        failed: tuple[DirectCall, grpc.RpcError] | None = None,
    ) -> Generator[Prediction]:
        """Carry out calls, and one that has failed already."""
        events = Events()
        scheduler = session.scheduler(timeout, events.wake)
        try:
            if failed is not None:
                failed[0].on_failure(failed[1], scheduler)
            yield from run_calls(scheduler, events, partial(_start, session), iter(calls))
        except BaseException as error:
            if scheduler.is_stuck or not isinstance(error, (Exception, GeneratorExit)):
                self._replace(session)
            raise


def _start(session: GrpcSession, outgoing: Outgoing) -> grpc.Future[bytes]:
    return session.predict.future(outgoing.data, timeout=outgoing.timeout, metadata=outgoing.metadata)
