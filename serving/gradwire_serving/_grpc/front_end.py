"""The gRPC front end: the port, and the services behind it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, final

import grpc

from gradwire._errors import UsageError
from gradwire_serving._config import ServerOptions, address_text, bind
from gradwire_serving._core import ConcurrencyLimit, Configuration, Manager, Memory, Resolver
from gradwire_serving._grpc.examples import ExampleMethods
from gradwire_serving._grpc.health import HealthService
from gradwire_serving._grpc.methods import Calls, Methods
from gradwire_serving._grpc.reflection import REFLECTION, SERVING_SERVICES, ReflectionService
from gradwire_serving._grpc.services import ModelService, PredictionService

# Seconds between the last call and the end: calls that were on their way are refused, and what is written is sent. A
# call that meets gRPC's own shutdown ends as CANCELLED, or hangs in the client to its deadline (5 of 24 stops).
LINGER: Final = 0.25
CLOSING_TIMEOUT: Final = 5.0  # seconds after which a stop no longer waits for gRPC

_CHANNEL_OPTIONS: Final = [
    ("grpc.so_reuseport", 0),  # or two servers would silently share a port
    ("grpc.max_receive_message_length", -1),  # no limit, as in TensorFlow Serving
    ("grpc.max_send_message_length", -1),
]

Result = TypeVar("Result")


@final
class GrpcFrontEnd:
    """Serves TensorFlow Serving's services, reflection and, behind its flag, grpc.health.v1, and nothing else.

    Calls are received by an event loop in a thread of its own, and computed by workers.
    """

    def __init__(
        self,
        resolver: Resolver,
        manager: Manager,
        configuration: Configuration,
        limit: ConcurrencyLimit,
        options: ServerOptions,
    ) -> None:
        self._workers = ThreadPoolExecutor(options.max_calls, thread_name_prefix="gradwire-call")
        calls = self._calls = Calls(limit, self._workers, log_requests=options.log_requests)
        memory = Memory(options.max_expanded_bytes)
        services = (
            PredictionService(resolver, memory, as_content=options.enable_serialization_as_tensor_content),
            ExampleMethods(resolver),
            ModelService(manager, configuration),
        )
        self._handlers = {
            name: calls.unary(name, method) for service in services for name, method in service.methods.items()
        }
        names = [*SERVING_SERVICES, REFLECTION]
        if options.enable_grpc_healthcheck_service:
            self._handlers |= HealthService(calls).handlers
            names.append("grpc.health.v1.Health")
        self._handlers |= ReflectionService(names).handlers
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: Any = None  # grpc.aio.Server
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
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="gradwire-grpc", daemon=True)
        self._thread.start()
        address = address_text(self._options.host, self._options.port)
        try:
            _run(loop, self._open(address))
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {address}: {error}; expected a free port of this machine") from error

    def stop(self, grace: float) -> None:
        """Close the port, after a moment for calls on their way; call it when the limit is closed."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            if self._server is not None:
                linger = min(LINGER, grace)
                time.sleep(linger)
                _run(loop, self._server.stop(linger), CLOSING_TIMEOUT)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(CLOSING_TIMEOUT)
            if not loop.is_running():
                loop.close()
        self._loop = self._thread = self._server = None
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _open(self, address: str) -> None:
        server = grpc.aio.server(handlers=[Methods(self._handlers)], options=_CHANNEL_OPTIONS)
        self._port = server.add_insecure_port(address)
        if self._options.grpc_socket_path:
            server.add_insecure_port(f"unix:{self._options.grpc_socket_path}")
        await server.start()
        self._server = server


def _run(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result], timeout: float | None = None
) -> Result:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout)
