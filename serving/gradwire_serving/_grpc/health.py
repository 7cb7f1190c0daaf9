"""grpc.health.v1, as TensorFlow Serving offers it with ``--enable_grpc_healthcheck_service``.

The servicer of the package grpcio-health-checking has no limit of Watches, and its locks can block one another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final, final

import grpc
from grpc_health.v1 import health_pb2

from gradwire_serving._core import Code, StatusError
from gradwire_serving._grpc.methods import Calls, aborting
from gradwire_serving._grpc.services import parse

SERVICES: Final = ("", "ModelService", "PredictionService")  # that it knows, as in TensorFlow Serving
MAX_WATCHES: Final = 100  # at once: each holds a thread


@final
class HealthService:
    """Says that the server serves: it is started when its models are loaded, and is gone when they are not."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._watches = 0
        self._lock = threading.Lock()

    @property
    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The handlers by the methods' full name."""
        return {
            "/grpc.health.v1.Health/Check": grpc.stream_unary_rpc_method_handler(self._check),
            "/grpc.health.v1.Health/Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }

    def _check(self, requests: Iterator[bytes], context: Any) -> bytes:
        with aborting(context):
            if self._service(requests, context) not in SERVICES:
                raise StatusError(Code.NOT_FOUND, "service name unknown")
        return _response(health_pb2.HealthCheckResponse.SERVING)

    def _watch(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        with self._lock:
            self._watches += 1
            is_one_too_many = self._watches > MAX_WATCHES
        try:
            with aborting(context):
                if is_one_too_many:
                    raise StatusError(Code.RESOURCE_EXHAUSTED, f"{MAX_WATCHES} watches are open, the most there may be")
                is_known = self._service(requests, context) in SERVICES
            serving = health_pb2.HealthCheckResponse
            yield _response(serving.SERVING if is_known else serving.SERVICE_UNKNOWN)
            ended = threading.Event()
            if context.add_callback(ended.set):
                ended.wait()  # until the caller goes, its deadline passes or the server stops
        finally:
            with self._lock:
                self._watches -= 1

    def _service(self, requests: Iterator[bytes], context: Any) -> str:
        return parse(health_pb2.HealthCheckRequest, self._calls.bodies.read_one(requests, context)).service


def _response(status: Any) -> bytes:
    return health_pb2.HealthCheckResponse(status=status).SerializeToString()
