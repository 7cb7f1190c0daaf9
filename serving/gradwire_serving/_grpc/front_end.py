"""The gRPC front end: the port, and the services behind it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, final

import grpc

from gradwire._errors import UsageError
from gradwire_serving._config import ServerOptions, address_text, bind, certificates_of, token_of
from gradwire_serving._core import ConcurrencyLimit, Configuration, Manager, Memory, Resolver
from gradwire_serving._grpc.counter import RequestCounter
from gradwire_serving._grpc.examples import ExampleMethods
from gradwire_serving._grpc.health import MAX_WATCHES, HealthService
from gradwire_serving._grpc.methods import MAX_AWAITED, Calls, Methods
from gradwire_serving._grpc.reflection import REFLECTION, SERVING_SERVICES, ReflectionService
from gradwire_serving._grpc.services import PREDICT, ModelService, PredictionService

if TYPE_CHECKING:
    from gradwire_serving._metrics import Metrics

# Seconds between the last call and the end: calls that were on their way are refused, and what is written is sent. A
# call that meets gRPC's own shutdown ends as CANCELLED, or hangs in the client to its deadline (5 of 24 stops).
LINGER: Final = 0.25
REFUSING_THREADS: Final = 16  # beside those that the limits admit, so that a call too many is refused at once
CLOSING_TIMEOUT: Final = 5.0  # seconds after which a stop no longer waits for gRPC

ANYWHERE: Final = "127.0.0.1:0"  # where certificates are tried

_CHANNEL_OPTIONS: Final = [
    ("grpc.so_reuseport", 0),  # or two servers would silently share a port
    ("grpc.max_receive_message_length", -1),  # no limit, as in TensorFlow Serving
    ("grpc.max_send_message_length", -1),
]


@final
class GrpcFrontEnd:
    """Serves TensorFlow Serving's services, reflection and, behind its flag, grpc.health.v1, and nothing else."""

    def __init__(
        self,
        resolver: Resolver,
        manager: Manager,
        configuration: Configuration,
        limit: ConcurrencyLimit,
        memory: Memory,
        metrics: Metrics | None,
        options: ServerOptions,
    ) -> None:
        calls = self._calls = Calls(limit, log_requests=options.log_requests)
        counter = RequestCounter(resolver, metrics)
        services = (
            PredictionService(
                resolver, memory, counter, limit.turn, as_content=options.enable_serialization_as_tensor_content
            ),
            ExampleMethods(resolver, counter),
            ModelService(manager, configuration),
        )
        self._handlers = {
            name: calls.unary(name, method, takes_turn=name == PREDICT)
            for service in services
            for name, method in service.methods.items()
        }
        names = [*SERVING_SERVICES, REFLECTION]
        if options.enable_grpc_healthcheck_service:
            self._handlers |= HealthService(calls).handlers
            names.append("grpc.health.v1.Health")
        self._handlers |= ReflectionService(calls, names).handlers
        self._options = options
        self._token = token_of(options)
        self._credentials = _credentials(options)
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
        if self._credentials is not None:
            try:
                self._listen(grpc.server(ThreadPoolExecutor(1)), ANYWHERE)
            except RuntimeError as error:
                raise UsageError(
                    f"{self._options.ssl_config_file} has a server_key and a server_cert, or a custom_ca, that cannot be "
                    "used; expected a key, its own certificate, and an authority's, in PEM"
                ) from error

    def start(self) -> None:
        """Open the port."""
        threads = self._options.max_calls + self._options.max_waiting + MAX_AWAITED + MAX_WATCHES + REFUSING_THREADS
        workers = ThreadPoolExecutor(threads, thread_name_prefix="gradwire-call")  # makes one when none is idle
        handlers: list[grpc.GenericRpcHandler] = [Methods(self._handlers, self._token)]
        server = grpc.server(workers, handlers=handlers, options=_CHANNEL_OPTIONS)
        address = address_text(self._options.host, self._options.port)
        try:
            self._port = self._listen(server, address)
            if self._options.grpc_socket_path:
                self._listen(server, f"unix:{self._options.grpc_socket_path}")
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {address}: {error}; expected a free port of this machine") from error
        self._calls.bodies.start()
        server.start()
        self._server = server

    def _listen(self, server: grpc.Server, address: str) -> int:
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials)

    def stop(self, grace: float) -> None:
        """Close the port, after a moment for calls on their way; call it when the limit is closed."""
        if self._server is not None:
            linger = min(LINGER, grace)
            time.sleep(linger)
            self._server.stop(linger).wait(CLOSING_TIMEOUT)
            self._calls.bodies.stop()


def _credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    files = certificates_of(options)
    if files is None:
        return None
    return grpc.ssl_server_credentials([(files.key, files.certificate)], files.authority, files.client_verify)
