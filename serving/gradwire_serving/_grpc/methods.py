"""gRPC plumbing: methods on raw bytes, the limit of calls at once, and the response to every unknown method.

Raw bytes, because gRPC's own deserialiser hook reports a body that does not parse in other words than TensorFlow
Serving, and because responses are written in wire form at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeAlias, final

import grpc
from typing_extensions import override

from gradwire_serving._core import ConcurrencyLimit, StatusError

Method: TypeAlias = "Callable[[bytes, float | None], bytes]"  # request and deadline (None: no limit) to response

LONGEST_TIMEOUT: Final = 10**9  # seconds; gRPC reports infinity for a call with no deadline


def unary(method: Method, limit: ConcurrencyLimit) -> grpc.RpcMethodHandler:
    """Return the gRPC handler of a method; a StatusError, of the limit too, becomes the call's status."""

    def behaviour(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            with limit.slot():
                return method(request, _deadline(context))
        except StatusError as error:
            context.abort(grpc.StatusCode[error.code], str(error))

    return grpc.unary_unary_rpc_method_handler(behaviour)


@final
class Methods(grpc.GenericRpcHandler):
    """A server's methods by their full name; all others are UNIMPLEMENTED with an empty text."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers
        # Streaming on both sides, so that it responds before any message has come.
        self._unimplemented = grpc.stream_stream_rpc_method_handler(_unimplemented)

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handlers.get(handler_call_details.method, self._unimplemented)


def _deadline(context: grpc.ServicerContext) -> float | None:
    seconds = context.time_remaining()
    return None if seconds is None or seconds > LONGEST_TIMEOUT else time.monotonic() + seconds


def _unimplemented(_requests: Iterator[Any], context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
