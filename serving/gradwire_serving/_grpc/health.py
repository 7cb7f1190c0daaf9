"""grpc.health.v1, as TensorFlow Serving offers it with ``--enable_grpc_healthcheck_service``."""

from __future__ import annotations

from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2

from gradwire_serving._core import Code, ConcurrencyLimit, StatusError
from gradwire_serving._grpc.methods import unary
from gradwire_serving._grpc.services import parse

KNOWN_SERVICES: Final = ("", "ModelService", "PredictionService")


def health_handlers(limit: ConcurrencyLimit) -> dict[str, grpc.RpcMethodHandler]:
    """Return the methods of the health service by their full name.

    Args:
        limit: admits the calls.
    """
    servicer = health.HealthServicer()
    for service in KNOWN_SERVICES:
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    watch = grpc.unary_stream_rpc_method_handler(
        servicer.Watch,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    return {"/grpc.health.v1.Health/Check": unary(_check, limit), "/grpc.health.v1.Health/Watch": watch}


def _check(data: bytes, _deadline: float | None) -> bytes:
    request = parse(health_pb2.HealthCheckRequest, data)
    if request.service not in KNOWN_SERVICES:  # the package's own Check has this code with no text
        raise StatusError(Code.NOT_FOUND, "service name unknown")
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
