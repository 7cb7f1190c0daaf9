"""gRPC plumbing: methods on raw bytes, the limit of calls at once, and the response to every unknown method.

Raw bytes, because gRPC's own deserialiser hook reports a body that does not parse in other words than TensorFlow
Serving, and because responses are written in wire form at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar, final

import grpc
from google.protobuf.message import DecodeError, Message
from typing_extensions import override

from gradwire_serving._core import Code, ModelRef, StatusError, invalid_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gradwire_serving._core import ConcurrencyLimit

Method: TypeAlias = "Callable[[bytes, float | None], bytes]"  # request and deadline (None: no limit) to response

LONGEST_TIMEOUT: Final = 10**9  # seconds; gRPC reports infinity for a call with no deadline

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parse(message: type[AnyMessage], request: bytes) -> AnyMessage:
    """Parse a request.

    Raises:
        StatusError: INTERNAL with an empty text, it does not parse.
    """
    try:
        return message.FromString(request)
    except DecodeError as error:
        raise StatusError(Code.INTERNAL, "") from error


def model_ref(request: Any) -> ModelRef:
    """Return the model that a request names in its ModelSpec.

    Raises:
        StatusError: INVALID_ARGUMENT, it has no ModelSpec.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRef(spec.name, spec.version.value)
        case "version_label":
            return ModelRef(spec.name, label=spec.version_label)
        case _:
            return ModelRef(spec.name)


def unary(method: Method, limit: ConcurrencyLimit) -> grpc.RpcMethodHandler:
    """Return the gRPC handler of a method.

    Args:
        method: computes the response; a StatusError becomes the call's status.
        limit: admits the calls; one that it refuses ends at once.
    """

    def behaviour(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            with limit.slot():
                return method(request, _deadline(context))
        except StatusError as error:
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
