"""The gRPC services of TensorFlow Serving, over the core."""

from gradwire_serving._grpc.server import DEFAULT_GRACE, EmbeddedServer

__all__ = ["DEFAULT_GRACE", "EmbeddedServer"]
