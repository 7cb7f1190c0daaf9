"""The gRPC front end: the port, and the services behind it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, final

import grpc
from grpc_health.v1 import health, health_pb2

from gradwire._errors import UsageError
from gradwire_serving._config import ServerOptions, address_text, bind
from gradwire_serving._core import Code, ConcurrencyLimit, Manager, Resolver, StatusError
from gradwire_serving._grpc.methods import Methods, unary
from gradwire_serving._grpc.services import ModelService, PredictionService, parse

REFUSING_THREADS: Final = 2  # beside those that may compute, so that a call too many is refused at once
# Seconds between the last call and the end: calls that were on their way are refused, and what is written is sent. A
# call that meets gRPC's own shutdown ends as CANCELLED, or hangs in the client to its deadline (5 of 24 stops).
LINGER: Final = 0.25

HEALTH_SERVICES: Final = (
    "",
    "ModelService",
    "PredictionService",
)  # that grpc.health.v1 knows, as in TensorFlow Serving

_CHANNEL_OPTIONS: Final = [
    ("grpc.so_reuseport", 0),  # or two servers would silently share a port
    ("grpc.max_receive_message_length", -1),  # no limit, as in TensorFlow Serving
    ("grpc.max_send_message_length", -1),
]


@final
class GrpcFrontEnd:
    """Serves Predict, GetModelMetadata, GetModelStatus and, behind Serving's flag, grpc.health.v1.

    Every other method is UNIMPLEMENTED.
    """

    def __init__(self, resolver: Resolver, manager: Manager, limit: ConcurrencyLimit, options: ServerOptions) -> None:
        services = (
            PredictionService(resolver, as_content=options.enable_serialization_as_tensor_content),
            ModelService(manager),
        )
        self._handlers = {
            name: unary(method, limit) for service in services for name, method in service.methods.items()
        }
        if options.enable_grpc_healthcheck_service:
            self._handlers |= _health_handlers(limit)
        self._options = options
        self._server: grpc.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port, once started."""
        return self._port

    @property
    def address(self) -> str:
        """The address that clients connect to, once started."""
        return address_text(self._options.host, self._port)

    def check(self) -> None:
        """Raise if the port cannot be opened; models may take minutes to load, and this need not wait for them."""
        bind(self._options.host, self._options.port, "--port").close()

    def start(self) -> None:
        """Open the port."""
        workers = ThreadPoolExecutor(self._options.max_calls + REFUSING_THREADS, thread_name_prefix="gradwire-call")
        server = grpc.server(workers, handlers=[Methods(self._handlers)], options=_CHANNEL_OPTIONS)
        address = address_text(self._options.host, self._options.port)
        try:
            self._port = server.add_insecure_port(address)
            if self._options.grpc_socket_path:
                server.add_insecure_port(f"unix:{self._options.grpc_socket_path}")
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {address}: {error}; expected a free port of this machine") from error
        server.start()
        self._server = server

    def stop(self, grace: float) -> None:
        """Close the port, after a moment for calls on their way; call it when the limit is closed."""
        if self._server is not None:
            linger = min(LINGER, grace)
            time.sleep(linger)
            self._server.stop(linger).wait()


def _health_handlers(limit: ConcurrencyLimit) -> dict[str, grpc.RpcMethodHandler]:
    """Return the methods of grpc.health.v1, as Serving offers them with ``--enable_grpc_healthcheck_service``."""
    servicer = health.HealthServicer()
    for service in HEALTH_SERVICES:
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    watch = grpc.unary_stream_rpc_method_handler(
        servicer.Watch,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    return {"/grpc.health.v1.Health/Check": unary(_check_health, limit), "/grpc.health.v1.Health/Watch": watch}


def _check_health(data: bytes, _deadline: float | None) -> bytes:
    request = parse(health_pb2.HealthCheckRequest, data)
    if request.service not in HEALTH_SERVICES:  # the package's own Check has this code with no text
        raise StatusError(Code.NOT_FOUND, "service name unknown")
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
