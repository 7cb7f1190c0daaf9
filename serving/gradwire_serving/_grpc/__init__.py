"""The gRPC front end: TensorFlow Serving's services, over the core."""

from gradwire_serving._grpc.front_end import GrpcFrontEnd

__all__ = ["GrpcFrontEnd"]
