"""gRPC plumbing: methods on raw bytes, the limit of calls at once, and the answer to everything unknown.

Raw bytes, because gRPC's own deserialiser hook words a body that does not parse in another way than TensorFlow Serving,
and because answers are written in wire form at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar, final

import grpc
from google.protobuf.message import DecodeError, Message

from gradwire._errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gradwire_serving._grpc.concurrency_limit import Gate

Method: TypeAlias = "Callable[[bytes, float | None], bytes]"  # request and seconds left (None: no deadline) to answer

LONGEST_TIMEOUT: Final = 10**9  # seconds; gRPC gives infinity for a call with no deadline

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parse(message: type[AnyMessage], request: bytes) -> AnyMessage:
    """Parses a request.

    Raises:
        ServerError: INTERNAL with an empty text, it does not parse.
    """
    try:
        return message.FromString(request)
    except DecodeError as error:
        raise ServerError("", code="INTERNAL") from error


def unary(method: Method, gate: Gate) -> grpc.RpcMethodHandler:
    """Makes a gRPC handler of a method.

    Args:
        method: computes the answer; a ServerError becomes the call's status.
        gate: admits the calls; one that it refuses is answered at once.
    """

    def behaviour(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            with gate.passing():
                return method(request, _seconds_left(context))
        except ServerError as error:
            context.abort(grpc.StatusCode[error.code], str(error))

    return grpc.unary_unary_rpc_method_handler(behaviour)


@final
class Methods(grpc.GenericRpcHandler):
    """A server's methods by their full name; all others are UNIMPLEMENTED with an empty text.

    Args:
        handlers: such as ``{"/tensorflow.serving.PredictionService/Predict": …}``.
    """

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers
        # Streaming on both sides, so that it answers before any message has come.
        self._unimplemented = grpc.stream_stream_rpc_method_handler(_unimplemented)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Finds the handler of a call."""
        return self._handlers.get(handler_call_details.method, self._unimplemented)


def _seconds_left(context: grpc.ServicerContext) -> float | None:
    seconds = context.time_remaining()
    return None if seconds is None or seconds > LONGEST_TIMEOUT else seconds


def _unimplemented(_requests: Iterator[Any], context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
