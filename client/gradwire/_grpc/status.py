"""What became of one message: whether to send it again, later, less often or smaller."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import grpc

_FULL_POOL: Final = "Server Threadpool Exhausted"
_FULL_QUEUE: Final = "batch scheduling queue"  # a server that responds, but has too many requests waiting

# gRPC's words where the same connection would fail again.
NOT_GRPC: Final = ("Failed parsing HTTP/2", "http1", "missing selected ALPN")  # the last over TLS
UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
OTHER_NAME: Final = (
    "Hostname Verification Check failed",
    "not in peer certificate",  # the same in the words of gRPC before 1.66
)
NOT_TLS: Final = "WRONG_VERSION_NUMBER"  # BoringSSL's words for plain text where a handshake should be
NO_TOKEN: Final = "metadata from plugin failed"  # noqa: S105 - gRPC's words, no secret
_REFUSED_BY_PROXY: Final = "HTTP proxy returned response code 4"
_PERMANENT: Final = (*NOT_GRPC, UNTRUSTED, *OTHER_NAME, NOT_TLS, NO_TOKEN, _REFUSED_BY_PROXY)

# gRPC's words for an answer that no gRPC server gave: a proxy, a gateway or a load balancer stands in between.
_HTTP_STATUS: Final = re.compile(r"Received http2 header with status: (\d+)")
TOO_LARGE: Final = 413
TOO_MANY: Final = 429

# The words of batching_session.cc, such as: Task size 4096 is larger than maximum input batch size 1000
_TOO_MANY_ROWS: Final = re.compile(r"Task size \d+ is larger than maximum input batch size (\d+)")
# The words of gRPC, such as: Received message larger than max (16000096 vs. 4194304); "Sent" for a response
_MESSAGE_SIZES: Final = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")
_SLACK: Final = 0.9  # of what fits by proportion: names, shapes and lengths do not shrink with the rows


class RpcStatus(NamedTuple):
    """How an RPC ended that brought no response.

    Attributes:
        code: gRPC's.
        details: the server's words, or gRPC's own.
    """

    code: grpc.StatusCode
    details: str

    @property
    def http_status(self) -> int | None:
        """The HTTP status of an answer that no gRPC server gave; None where one did."""
        match = _HTTP_STATUS.search(self.details)
        return None if match is None else int(match[1])

    @property
    def is_overload(self) -> bool:
        """Whether the server has too much to do, and accepted nothing: fewer calls at once help."""
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _FULL_POOL in self.details
        if self.code is not grpc.StatusCode.UNAVAILABLE:
            return False
        return _FULL_QUEUE in self.details or self.http_status == TOO_MANY

    @property
    def is_transient(self) -> bool:
        """Whether the same message may well succeed later: signatures are pure, so sending it again is harmless."""
        if any(words in self.details for words in _PERMANENT):
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
        sizes = _MESSAGE_SIZES.search(self.details)
        if sizes and self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return int(rows * min(0.5, _SLACK * int(sizes[2]) / int(sizes[1])))
        return rows // 2 if self.http_status == TOO_LARGE else None


def status_of(error: grpc.RpcError) -> RpcStatus:
    """Read what a call, a future or an asynchronous call raised."""
    if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return RpcStatus(error.code(), error.details() or "no message")
    return RpcStatus(grpc.StatusCode.UNKNOWN, str(error))
