"""The embedded server: TensorFlow Serving's gRPC services, from Python."""

from __future__ import annotations

import errno
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, final

import grpc

from gradwire._errors import PackageError, UsageError
from gradwire_serving._config import models_of
from gradwire_serving._core import Manager, Resolver, Source, State, load_version
from gradwire_serving._grpc.concurrency_limit import Gate
from gradwire_serving._grpc.health import health_handlers
from gradwire_serving._grpc.methods import Methods, unary
from gradwire_serving._grpc.model_service import ModelService
from gradwire_serving._grpc.prediction_service import PredictionService

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradwire_serving._config import ServerOptions
    from gradwire_serving._core import Version

DEFAULT_GRACE: Final = 10.0  # seconds that calls in flight are given when the server stops
REFUSING_THREADS: Final = 2  # beside those that may compute, so that a call too many is refused at once
# Seconds between the last call and the end: calls that were on their way are refused, and what is written is sent. A
# call that meets gRPC's own shutdown ends as CANCELLED, or hangs in the client to its deadline (5 of 24 stops).
LINGER: Final = 0.25
MICROS: Final = 1e-6  # seconds

# What only TensorFlow Serving has: the flag, and why the embedded server does not take it.
_SERVING_ONLY: Final = {
    "enable_batching": "joining concurrent requests",
    "batching_parameters_file": "joining concurrent requests",
    "monitoring_config_file": "the metrics page",
    "rest_api_port": "REST",
    "per_process_gpu_memory_fraction": "sharing a GPU",
}

_CHANNEL_OPTIONS: Final = [
    ("grpc.so_reuseport", 0),  # else two servers share a port without a word
    ("grpc.max_receive_message_length", -1),  # no limit, as in TensorFlow Serving
    ("grpc.max_send_message_length", -1),
]


@final
class EmbeddedServer:
    """Serves packages over gRPC as TensorFlow Serving does, for laptops, tests and CI.

    Predict, GetModelMetadata, GetModelStatus and, behind Serving's flag, grpc.health.v1; all else is UNIMPLEMENTED.

    Args:
        options: what to serve, and how.

    Raises:
        UsageError: a flag that only TensorFlow Serving has, or a config that cannot be used.
    """

    def __init__(self, options: ServerOptions) -> None:
        for name, what in _SERVING_ONLY.items():
            if getattr(options, name):
                raise UsageError(
                    f"--{name}: the embedded server has nothing for {what}; use --engine tensorflow_model_server or docker"
                )
        self._options = options
        self._models = models_of(options)
        self._manager = Manager(
            partial(load_version, enable_warmup=options.enable_model_warmup),
            max_retries=options.max_num_load_retries,
            retry_interval=options.load_retry_interval_micros * MICROS,
        )
        self._source = Source(self._models, self._manager.want, options.file_system_poll_wait_seconds)
        self._gate = Gate(options.max_calls)
        self._grpc: grpc.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port, once started."""
        return self._port

    @property
    def address(self) -> str:
        """What a client connects to, once started."""
        return _address(self._options.host, self._port)

    def available(self) -> dict[str, list[int]]:
        """Gives the versions that answer now, highest first, by model."""
        return {
            model.name: [v.number for v in self._manager.versions(model.name) if v.state is State.AVAILABLE]
            for model in self._models
        }

    def start(self) -> None:
        """Loads the models, then opens the port; waits for ever for a model that has no version yet.

        Raises:
            UsageError: the port is in use, or the host is not this machine.
            PackageError: a version could not be loaded.
        """
        _check_free(self._options.host, self._options.port)
        self._source.start()
        try:
            _check_loaded(self._manager.wait_until_settled([model.name for model in self._models]))
            self._grpc = self._listen()
        except BaseException:
            self.stop(grace=0)
            raise

    def stop(self, grace: float = DEFAULT_GRACE) -> None:
        """Refuses new calls, lets those in flight end, and unloads everything.

        Args:
            grace: seconds after which calls that still run are cut off.
        """
        if self._grpc is not None:
            self._gate.close(grace)
            time.sleep(min(LINGER, grace))
            self._grpc.stop(min(LINGER, grace)).wait()
        self._source.stop()
        self._manager.stop()

    def _listen(self) -> grpc.Server:
        workers = ThreadPoolExecutor(self._options.max_calls + REFUSING_THREADS, thread_name_prefix="gradwire-call")
        server = grpc.server(workers, handlers=[self._handlers()], options=_CHANNEL_OPTIONS)
        address = _address(self._options.host, self._options.port)
        try:
            self._port = server.add_insecure_port(address)
            if self._options.grpc_socket_path:
                server.add_insecure_port(f"unix:{self._options.grpc_socket_path}")
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {address}: {error}; expected a free port of this machine") from error
        server.start()
        return server

    def _handlers(self) -> Methods:
        prediction = PredictionService(
            Resolver(self._manager, self._models),
            as_content=self._options.enable_serialization_as_tensor_content,
        )
        methods = prediction.methods | ModelService(self._manager).methods
        handlers = {name: unary(method, self._gate) for name, method in methods.items()}
        if self._options.enable_grpc_healthcheck_service:
            handlers |= health_handlers(self._gate)
        return Methods(handlers)


def _check_loaded(failed: Mapping[str, Sequence[Version]]) -> None:
    if failed:
        raise PackageError(
            "; ".join(
                f"model {name!r} version {version.number} at {version.path} cannot be loaded: {version.failure}"
                for name, versions in failed.items()
                for version in versions
            )
        )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_free(host: str, port: int) -> None:
    # Models may take minutes to load: a port in use is said before that, not after.
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise UsageError(
            f"cannot listen on {_address(host, port)}: {reason}; choose another --port or --host"
        ) from error
