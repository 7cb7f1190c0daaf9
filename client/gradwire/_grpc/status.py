"""What went wrong with one message, and what helps: later, fewer at once, fewer rows, or nothing."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import grpc

FULL_POOL: Final = "Server Threadpool Exhausted"
FULL_QUEUE: Final = "batch scheduling queue"  # a server that answers, but has too many requests waiting
NOT_GRPC: Final = ("Failed parsing HTTP/2", "http1")  # gRPC's words for a server that speaks HTTP/1.1
UNTRUSTED: Final = (
    "CERTIFICATE_VERIFY_FAILED",
    "Hostname Verification Check failed",
    "not in peer certificate",  # the same in the words of gRPC before 1.66
)
NO_TOKEN: Final = "metadata from plugin failed"  # noqa: S105 - gRPC's words, no secret

# The words of batching_session.cc, such as: Task size 4096 is larger than maximum input batch size 1000
_TOO_MANY_ROWS: Final = re.compile(r"Task size \d+ is larger than maximum input batch size (\d+)")
# The words of gRPC, such as: Received message larger than max (16000096 vs. 4194304); "Sent" for an answer
_TOO_LARGE: Final = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")
_SLACK: Final = 0.9  # of what fits by proportion: names, shapes and lengths do not shrink with the rows


class Fault(NamedTuple):
    """Why a message was not answered.

    Attributes:
        code: gRPC's.
        details: the server's words, or gRPC's own.
    """

    code: grpc.StatusCode
    details: str

    @property
    def is_full(self) -> bool:
        """Whether the server has too much to do, and took nothing on: fewer calls at once help."""
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return FULL_POOL in self.details
        return self.code is grpc.StatusCode.UNAVAILABLE and FULL_QUEUE in self.details

    @property
    def may_pass(self) -> bool:
        """Whether the same message may well be answered later: signatures are pure, so asking again is harmless."""
        if any(words in self.details for words in (*NOT_GRPC, *UNTRUSTED, NO_TOKEN)):
            return False
        if self.code is grpc.StatusCode.INTERNAL:
            return "RST_STREAM" in self.details  # a proxy that lost its server
        # CANCELLED, when nobody here has cancelled: the call met the server's shutdown.
        return self.is_full or self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

    def rows_allowed(self, rows: int) -> int | None:
        """Tells how many rows the server would take; None where their number is not what is wrong.

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


def fault_of(error: grpc.RpcError) -> Fault:
    """Reads what a call, a future or an asynchronous call raised."""
    if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return Fault(error.code(), error.details() or "no message")
    return Fault(grpc.StatusCode.UNKNOWN, str(error))
