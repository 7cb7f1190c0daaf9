"""What a gRPC status means to the caller, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from gradwire._errors import (
    DeadlineExceeded,
    GradwireError,
    ModelNotFound,
    ServerError,
    ServerUnreachable,
    SignatureNotFound,
)

if TYPE_CHECKING:
    from gradwire._address import Address

_UNKNOWN_LABEL: Final = "Unrecognized servable version label"
_UNKNOWN_SIGNATURE: Final = "Serving signature key"
_FULL_QUEUE: Final = "batch scheduling queue"  # a server that answers, but has too many requests waiting
_NOT_GRPC: Final = ("Failed parsing HTTP/2", "http1")  # gRPC's words for a server that speaks HTTP/1.1
_HINTS: Final = {
    "Server Threadpool Exhausted": "raise --grpc_max_threads of the server, or send fewer calls at once",
    _FULL_QUEUE: "raise max_enqueued_batches of the server's batching parameters, or send fewer calls at once",
    "larger than maximum input batch size": "send fewer rows at once, or raise max_batch_size of the server",
    "larger than max": "a message is over the limit of the server or of a proxy on the way: raise it there",
    "XLA compilation disabled": "start the server with --xla_cpu_compilation_enabled=true",
    "Expects arg": "a version with other dtypes may have come: connect again",
    "to be in the set": "a version with other outputs may have come: connect again",
}


def translate(error: grpc.RpcError, address: Address, timeout: float) -> GradwireError:
    """Turns a gRPC error into one of ``gradwire._errors``.

    Args:
        error: as raised by a call or a future.
        address: whom was called.
        timeout: seconds that the caller allowed.

    Returns:
        The error to raise.
    """
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else str(error)) or "no message"
    if code is grpc.StatusCode.UNAVAILABLE and _FULL_QUEUE not in details:
        return _unreachable(address, details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(
            f"no answer of {address} within {timeout:g} s: give a longer timeout, or fewer rows at once"
        )
    if code is grpc.StatusCode.NOT_FOUND or _UNKNOWN_LABEL in details:
        return ModelNotFound(
            f"{address}: {details}; check the name, version and label: `gradwire serve` prints those it serves"
        )
    if code is grpc.StatusCode.FAILED_PRECONDITION and _UNKNOWN_SIGNATURE in details:
        return SignatureNotFound(f"{address}: {details} A new version may have come: connect again")
    hint = next((f"; {hint}" for text, hint in _HINTS.items() if text in details), "")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        hint = "; expected TensorFlow Serving's gRPC services there"
    return ServerError(f"{address}: {code.name}: {details}{hint}", code=code.name)


def _unreachable(address: Address, details: str) -> ServerUnreachable:
    if any(words in details for words in _NOT_GRPC):
        return ServerUnreachable(
            f"{address.target} speaks HTTP, not gRPC ({details}): give Serving's gRPC port, 8500 by default (8501 is REST)"
        )
    port = address.target.rpartition(":")[2]
    command = f"gradwire serve models --port {port}" if port.isdecimal() else "gradwire serve models"
    return ServerUnreachable(f"no answer from {address.target} ({details}); is it running? {command}")
