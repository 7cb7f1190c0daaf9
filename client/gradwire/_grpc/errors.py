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
from gradwire._grpc.status import FULL_POOL, FULL_QUEUE, NOT_GRPC, UNTRUSTED

if TYPE_CHECKING:
    from gradwire._grpc.status import Fault
    from gradwire._wire import Address

_UNKNOWN_LABEL: Final = "Unrecognized servable version label"
_UNKNOWN_SIGNATURE: Final = "Serving signature key"
_HINTS: Final = {
    FULL_POOL: "raise --grpc_max_threads of the server, or send fewer calls at once",
    FULL_QUEUE: "raise max_enqueued_batches of the server's batching parameters, or send fewer calls at once",
    "larger than maximum input batch size": "raise max_batch_size of the server",
    "larger than max": "one row is over the limit of the server or of a proxy on the way: raise it there",
    "XLA compilation disabled": "start the server with --xla_cpu_compilation_enabled=true",
    "Expects arg": "a version with other dtypes may have come: connect again",
    "to be in the set": "a version with other outputs may have come: connect again",
    "from different tasks have different shapes": "another caller's rows of another shape were joined with these: ask again",
}


def translate(fault: Fault, address: Address, timeout: float, tries: int = 1) -> GradwireError:
    """Turns what went wrong with a call into one of ``gradwire._errors``.

    Args:
        fault: the last one.
        address: whom was called.
        timeout: seconds that the caller allowed.
        tries: how often the call was made.

    Returns:
        The error to raise.
    """
    code, details = fault
    if code is grpc.StatusCode.UNAVAILABLE and not fault.is_full:
        return _unreachable(address, details, tries)
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
    return ServerError(f"{address}: {code.name}: {details}{_times(tries)}{hint}", code=code.name)


def _unreachable(address: Address, details: str, tries: int) -> ServerUnreachable:
    where = address.where
    if any(words in details for words in NOT_GRPC):
        return ServerUnreachable(
            f"{where} speaks HTTP, not gRPC ({details}): give Serving's gRPC port, 8500 by default (8501 is REST)"
        )
    if any(words in details for words in UNTRUSTED):
        return ServerUnreachable(
            f"{where} could not be trusted, or did not trust this client ({details}): check the files of tls"
        )
    port = where.rpartition(":")[2]
    command = f"gradwire serve models --port {port}" if port.isdecimal() else "gradwire serve models"
    return ServerUnreachable(f"no answer from {where} ({details}{_times(tries)}); is it running? {command}")


def _times(tries: int) -> str:
    return f", tried {tries} times" if tries > 1 else ""
