"""Where a ``Model`` makes its calls: a server, a package or an ONNX file in this process, or a test's own functions."""

from gradwire._transports.base import Transport
from gradwire._transports.fake import FakeTransport
from gradwire._transports.grpc import GrpcTransport
from gradwire._transports.in_process import InProcessTransport
from gradwire._transports.native import NativeTransport
from gradwire._transports.onnx import OnnxTransport

__all__ = ["FakeTransport", "GrpcTransport", "InProcessTransport", "NativeTransport", "OnnxTransport", "Transport"]
