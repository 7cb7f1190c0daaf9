"""Spans of OpenTelemetry, one for each call and request, with its context in the metadata of every message.

Nothing is imported here: a program that traces has imported OpenTelemetry itself. The names are those of its semantic
conventions for RPC; what they have no name for begins with ``gradwire.``.
"""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Self, final

import grpc

from gradwire._errors import DeadlineExceeded, ModelNotFound, ServerError, ServerUnreachable, SignatureNotFound
from gradwire._grpc.channel import Pairs
from gradwire._grpc.status import RpcStatus
from gradwire._wire import Address, Call, Prediction, proto

_API: Final = "opentelemetry.trace"
_CODES: Final[Mapping[type[BaseException], grpc.StatusCode]] = {  # of which each of the client's errors was made
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    ServerUnreachable: grpc.StatusCode.UNAVAILABLE,
    SignatureNotFound: grpc.StatusCode.FAILED_PRECONDITION,
}


def is_tracing() -> bool:
    """Whether this process has set up OpenTelemetry, so that spans go somewhere."""
    trace = sys.modules.get(_API)
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@final
class _Span:
    """A span of kind client, with what is known of the call before it begins.

    Attributes:
        metadata: what carries the span to the server.
    """

    def __init__(self, path: str, address: Address, attributes: Mapping[str, Any]) -> None:
        self._trace: Any = sys.modules[_API]
        name = path.removeprefix("/")
        service, _, method = name.rpartition("/")
        known = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, **_server(address)}
        self._span: Any = self._trace.get_tracer("gradwire").start_span(
            name,
            kind=self._trace.SpanKind.CLIENT,
            attributes={**known, "gradwire.model": address.model, **attributes},
        )
        self.metadata = self._inject()

    def set(self, name: str, value: Any) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def add_event(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Add an event, which happens now."""
        self._span.add_event(name, attributes)

    def end(self, error: BaseException | None = None, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        """End it: with an error, or with a status code."""
        if error is not None:
            self._span.record_exception(error)
            self.set("error.type", type(error).__qualname__)
            self._span.set_status(self._trace.StatusCode.ERROR, str(error))
        self.set("rpc.grpc.status_code", (code if error is None else _code(error)).value[0])
        self._span.end()

    def _inject(self) -> Pairs:
        propagate: Any = import_module("opentelemetry.propagate")
        carrier: dict[str, str] = {}
        propagate.inject(carrier, self._trace.set_span_in_context(self._span))
        return tuple((name.lower(), value) for name, value in carrier.items())  # gRPC refuses other names


@final
class RequestSpan:
    """The span of a request for signatures or states, as a ``with`` block; none where nobody traces.

    Args:
        path: gRPC's of the method.
        address: where the request goes.

    Attributes:
        metadata: what carries the span to the server.
    """

    def __init__(self, path: str, address: Address) -> None:
        self._span = _Span(path, address, {}) if is_tracing() else None
        self.metadata: Pairs = () if self._span is None else self._span.metadata

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            self._span.end(error)


@final
class CallSpan:
    """The span of one call, from its first message to its prediction or error.

    Args:
        call: of which it is.
        address: where the call goes.

    Attributes:
        metadata: what carries the span to the server, for every message of the call.
        chunks: how many messages the rows travelled in, those sent again not counted.
        retries: how many messages were sent again.
    """

    def __init__(self, call: Call, address: Address) -> None:
        attributes: dict[str, Any] = {"gradwire.signature": call.signature.name}
        if call.rows is not None:
            attributes["gradwire.rows"] = call.rows
        self._span = _Span(proto.PREDICT, address, attributes)
        self.metadata = self._span.metadata
        self.chunks = 0
        self.retries = 0

    def on_retry(self, status: RpcStatus, rows: int) -> None:
        """Note that a message failed, and is sent again, whole or in smaller chunks."""
        self.retries += 1
        event = {"rpc.grpc.status_code": status.code.value[0], "gradwire.reason": status.details, "gradwire.rows": rows}
        self._span.add_event("retry", event)

    def end(self, prediction: Prediction) -> None:
        """End it with a prediction."""
        if prediction.version is not None:
            self._span.set("gradwire.version", prediction.version)
        self._count()
        self._span.end()

    def fail(self, error: BaseException | None) -> None:
        """End it with an error; None where the caller did not wait for the end."""
        self._count()
        self._span.end(error, grpc.StatusCode.CANCELLED)

    def _count(self) -> None:
        self._span.set("gradwire.chunks", max(1, self.chunks))
        self._span.set("gradwire.retries", self.retries)


@final
class CallSpans:
    """The spans of calls that end in the order in which they begin; those still open end where the block does.

    Args:
        address: where the calls go.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._open: deque[CallSpan | None] = deque()

    def begin(self, call: Call) -> Call:
        """Return the call with a span; as it is where nobody traces, or nothing is sent."""
        span = CallSpan(call, self._address) if call.rows != 0 and is_tracing() else None
        self._open.append(span)
        if span is None:
            return call
        call = copy.copy(call)
        call.span = span
        return call

    def end(self, prediction: Prediction) -> Prediction:
        """End the first span that is open, and return the prediction."""
        span = self._open.popleft()
        if span is not None:
            span.end(prediction)
        return prediction

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The first call is the one that failed or was given up; the others were on their way.
        while self._open:
            span = self._open.popleft()
            if span is not None:
                span.fail(None if isinstance(error, GeneratorExit) else error)


def _code(error: BaseException) -> grpc.StatusCode:
    """The status code that an error was made of, as far as it is known."""
    if isinstance(error, ServerError):
        return grpc.StatusCode.__members__.get(error.code, grpc.StatusCode.UNKNOWN)
    if isinstance(error, Exception):
        return _CODES.get(type(error), grpc.StatusCode.UNKNOWN)
    return grpc.StatusCode.CANCELLED  # by its caller


def _server(address: Address) -> dict[str, str | int]:
    """Where the server is, in OpenTelemetry's attributes; a Unix socket has a path and no port."""
    host, port = address.endpoint
    if not port or not isinstance(address.target, str):
        return {"server.address": address.where.removeprefix("unix:").removeprefix("//")}
    return {"server.address": host, "server.port": port}
