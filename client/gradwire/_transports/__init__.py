"""Where a ``Model`` makes its calls: a server, a package in this process, or a test's own functions."""

from gradwire._transports.base import Transport
from gradwire._transports.fake import FakeTransport
from gradwire._transports.grpc import GrpcTransport
from gradwire._transports.in_process import InProcessTransport

__all__ = ["FakeTransport", "GrpcTransport", "InProcessTransport", "Transport"]
