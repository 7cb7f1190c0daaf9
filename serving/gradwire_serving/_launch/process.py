"""TensorFlow Serving as a process of its own: its signals, its exit code, and when it serves."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from gradwire._errors import UsageError
from gradwire_serving._config import DEFAULT_HOST, ServerOptions, address_text, models_of
from gradwire_serving._core import SIGNAL_INTERVAL, State
from gradwire_serving._launch.command import Plan
from gradwire_serving._launch.engines import DOCKER

FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STATUS_TIMEOUT: Final = 1.0  # seconds for one look at a model
KILLED: Final = 128  # added to a signal's number in the exit code of a process that it ended


class Started(Protocol):
    """A server that serves."""

    @property
    def address(self) -> str:
        """The address of gRPC."""
        ...

    @property
    def rest_address(self) -> str:
        """The address of REST; empty where there is none."""
        ...

    def available(self) -> dict[str, list[int]]:
        """Return the versions that are available, highest first, by model."""
        ...


@final
@dataclass(frozen=True, slots=True)
class StartedProcess:
    """A process that serves; see ``Started``."""

    address: str
    rest_address: str
    versions: dict[str, list[int]]

    def available(self) -> dict[str, list[int]]:
        """Return the versions that were available when it had started."""
        return self.versions


def run(planned: Plan, options: ServerOptions, ready: Callable[[Started], None]) -> int:
    """Run a planned server until it ends, and pass on the signals that this process gets.

    Args:
        planned: how it is started; its config files are written.
        options: what it was planned for.
        ready: called once every model has an available version.

    Returns:
        Its exit code; 128 and the signal's number where a signal ended it.

    Raises:
        UsageError: the program is not on the PATH.
    """
    try:
        # A session of its own: Ctrl-C goes to this process alone, which passes it on once.
        process = subprocess.Popen(planned.argv, start_new_session=True)  # noqa: S603 - the arguments are ours
    except FileNotFoundError as error:
        raise UsageError(f"{planned.argv[0]} is not on the PATH; install it, or use --engine embedded") from error
    host = options.host if planned.engine == DOCKER else DEFAULT_HOST
    address = address_text(host, options.port)
    rest = address_text(host, options.rest_api_port) if options.rest_api_port else ""
    names = _names(options)
    with _forwarding(process), grpc.insecure_channel(address) as channel:
        waiting = True
        while (code := _exit_code(process)) is None:
            versions = None
            if waiting:
                versions = _open(host, options.port) if options.ssl_config_file else _available(channel, names)
            if versions is not None:
                waiting = False
                ready(StartedProcess(address, rest, versions))
    return code if code >= 0 else KILLED - code


def _exit_code(process: subprocess.Popen[Any]) -> int | None:
    try:
        return process.wait(SIGNAL_INTERVAL)
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def _forwarding(process: subprocess.Popen[Any]) -> Iterator[None]:
    before = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:  # an error ended the wait: nobody else would stop it
            process.terminate()
            process.wait()


def _names(options: ServerOptions) -> list[str]:
    if options.model_config_file and not Path(options.model_config_file).is_file():
        return []  # a path inside a container: which models there are is not known here
    return [model.name for model in models_of(options, remote=True)]


def _open(host: str, port: int) -> dict[str, list[int]] | None:
    """Return no versions once the port is open, which it is when all are available; None before.

    More cannot be known: a server behind TLS answers those who have its authority's certificate, or one of their own.
    """
    try:
        socket.create_connection((host, port), STATUS_TIMEOUT).close()
    except OSError:
        return None
    return {}


def _available(channel: grpc.Channel, names: Sequence[str]) -> dict[str, list[int]] | None:
    """Return the available versions of each model, or None while one has none."""
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    versions: dict[str, list[int]] = {}
    for name in names:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            response = status(request, timeout=STATUS_TIMEOUT)
        except grpc.RpcError:
            return None
        entries = response.model_version_status
        versions[name] = sorted((entry.version for entry in entries if entry.state == State.AVAILABLE), reverse=True)
    return versions if all(versions.values()) else None
