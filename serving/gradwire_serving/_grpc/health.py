"""grpc.health.v1, as TensorFlow Serving offers it with ``--enable_grpc_healthcheck_service``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health, health_pb2

from gradwire._errors import ServerError
from gradwire_serving._grpc.methods import parse, unary

if TYPE_CHECKING:
    from gradwire_serving._grpc.concurrency_limit import Gate

KNOWN_SERVICES: Final = ("", "ModelService", "PredictionService")


def health_handlers(gate: Gate) -> dict[str, grpc.RpcMethodHandler]:
    """Gives the methods of the health service by their full name.

    Args:
        gate: admits calls.
    """
    servicer = health.HealthServicer()
    for service in KNOWN_SERVICES:
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    watch = grpc.unary_stream_rpc_method_handler(
        servicer.Watch,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    return {"/grpc.health.v1.Health/Check": unary(_check, gate), "/grpc.health.v1.Health/Watch": watch}


def _check(data: bytes, _timeout: float | None) -> bytes:
    request = parse(health_pb2.HealthCheckRequest, data)
    if request.service not in KNOWN_SERVICES:  # the package's own Check gives this code with no text
        raise ServerError("service name unknown", code="NOT_FOUND")
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
