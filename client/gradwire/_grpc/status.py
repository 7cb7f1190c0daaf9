"""What became of one message: whether to send it again, later, less often or smaller, and what the caller is told."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import grpc

from gradwire._errors import (
    DeadlineExceeded,
    GradwireError,
    ModelNotFound,
    ServerError,
    ServerUnreachable,
    SignatureNotFound,
)
from gradwire._wire import Address

_FULL_POOL: Final = "Server Threadpool Exhausted"
_FULL_QUEUE: Final = "batch scheduling queue"  # a server that responds, but has too many requests waiting
_NOT_GRPC: Final = ("Failed parsing HTTP/2", "http1")  # gRPC's words for a server that speaks HTTP/1.1
_UNTRUSTED: Final = (
    "CERTIFICATE_VERIFY_FAILED",
    "Hostname Verification Check failed",
    "not in peer certificate",  # the same in the words of gRPC before 1.66
)
_NO_TOKEN: Final = "metadata from plugin failed"  # noqa: S105 - gRPC's words, no secret
_UNKNOWN_LABEL: Final = "Unrecognized servable version label"
_UNKNOWN_SIGNATURE: Final = "Serving signature key"

# The words of batching_session.cc, such as: Task size 4096 is larger than maximum input batch size 1000
_TOO_MANY_ROWS: Final = re.compile(r"Task size \d+ is larger than maximum input batch size (\d+)")
# The words of gRPC, such as: Received message larger than max (16000096 vs. 4194304); "Sent" for a response
_TOO_LARGE: Final = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")
_SLACK: Final = 0.9  # of what fits by proportion: names, shapes and lengths do not shrink with the rows

_HINTS: Final = {
    _FULL_POOL: "raise --grpc_max_threads of the server, or send fewer calls at once",
    _FULL_QUEUE: "raise max_enqueued_batches of the server's batching parameters, or send fewer calls at once",
    "larger than maximum input batch size": "raise max_batch_size of the server",
    "larger than max": "one row is over the limit of the server or of a proxy on the way: raise it there",
    "XLA compilation disabled": "start the server with --xla_cpu_compilation_enabled=true",
    "Expects arg": "a version with other dtypes may have come: connect again",
    "to be in the set": "a version with other outputs may have come: connect again",
    "from different tasks have different shapes": (
        "another caller's rows of another shape were batched with these: try again"
    ),
}


class RpcStatus(NamedTuple):
    """How an RPC ended that brought no response.

    Attributes:
        code: gRPC's.
        details: the server's words, or gRPC's own.
    """

    code: grpc.StatusCode
    details: str

    @property
    def is_overload(self) -> bool:
        """Whether the server has too much to do, and accepted nothing: fewer calls at once help."""
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _FULL_POOL in self.details
        return self.code is grpc.StatusCode.UNAVAILABLE and _FULL_QUEUE in self.details

    @property
    def is_transient(self) -> bool:
        """Whether the same message may well succeed later: signatures are pure, so sending it again is harmless."""
        if any(words in self.details for words in (*_NOT_GRPC, *_UNTRUSTED, _NO_TOKEN)):
            return False
        if self.code is grpc.StatusCode.INTERNAL:
            return "RST_STREAM" in self.details  # a proxy that lost its server
        # CANCELLED, when nobody here has cancelled: the call met the server's shutdown.
        return self.is_overload or self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

    def rows_allowed(self, rows: int) -> int | None:
        """Return how many rows the server would accept; None where their number is not what is wrong.

        Args:
            rows: how many were sent.
        """
        batch = _TOO_MANY_ROWS.search(self.details)
        if batch and self.code is grpc.StatusCode.INVALID_ARGUMENT:
            return int(batch[1])
        sizes = _TOO_LARGE.search(self.details)
        if sizes and self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return int(rows * min(0.5, _SLACK * int(sizes[2]) / int(sizes[1])))
        return None

    def translate(self, address: Address, timeout: float, tries: int = 1) -> GradwireError:
        """Return the error to raise.

        Args:
            address: where the call went.
            timeout: seconds that the caller allowed.
            tries: how often the call was made.
        """
        code, details = self
        if code is grpc.StatusCode.UNAVAILABLE and not self.is_overload:
            return _unreachable(address, details, tries)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(
                f"no answer of {address} within {timeout:g} s: give a longer timeout, or fewer rows at once"
            )
        if code is grpc.StatusCode.NOT_FOUND or _UNKNOWN_LABEL in details:
            gone = "" if address.version is None else "a newer version may have replaced it; "
            return ModelNotFound(
                f"{address}: {details}; {gone}check the name, version and label: `gradwire serve` prints those it serves"
            )
        if code is grpc.StatusCode.FAILED_PRECONDITION and _UNKNOWN_SIGNATURE in details:
            return SignatureNotFound(f"{address}: {details} A new version may have come: connect again")
        hint = next((f"; {hint}" for text, hint in _HINTS.items() if text in details), "")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            hint = "; expected TensorFlow Serving's gRPC services there"
        return ServerError(f"{address}: {code.name}: {details}{_times(tries)}{hint}", code=code.name)


def status_of(error: grpc.RpcError) -> RpcStatus:
    """Read what a call, a future or an asynchronous call raised."""
    if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return RpcStatus(error.code(), error.details() or "no message")
    return RpcStatus(grpc.StatusCode.UNKNOWN, str(error))


def _unreachable(address: Address, details: str, tries: int) -> ServerUnreachable:
    where = address.where
    if any(words in details for words in _NOT_GRPC):
        return ServerUnreachable(
            f"{where} speaks HTTP, not gRPC ({details}): give Serving's gRPC port, 8500 by default (8501 is REST)"
        )
    if any(words in details for words in _UNTRUSTED):
        return ServerUnreachable(
            f"{where} could not be trusted, or did not trust this client ({details}): check the files of tls"
        )
    port = where.rpartition(":")[2]
    command = f"gradwire serve models --port {port}" if port.isdecimal() else "gradwire serve models"
    return ServerUnreachable(f"no answer from {where} ({details}{_times(tries)}); is it running? {command}")


def _times(tries: int) -> str:
    return f", tried {tries} times" if tries > 1 else ""
