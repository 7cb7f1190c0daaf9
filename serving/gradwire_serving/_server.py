"""The embedded server: the core, and the front ends through which it is called."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, final

from gradwire._errors import PackageError, UsageError
from gradwire_serving._config import ConfigFile, ServerOptions, batching_of, models_of
from gradwire_serving._core import (
    ConcurrencyLimit,
    Configuration,
    Manager,
    Memory,
    Resolver,
    Servable,
    Source,
    State,
    Version,
    load_version,
)
from gradwire_serving._grpc import GrpcFrontEnd
from gradwire_serving._wire import warm_up

if TYPE_CHECKING:
    from gradwire_serving._metrics import Metrics
    from gradwire_serving._rest import RestFrontEnd

DEFAULT_GRACE: Final = 10.0  # seconds that running calls have when the server stops
MICROS: Final = 1e-6  # seconds

# What only TensorFlow Serving has: the flag, and why the embedded server does not take it.
_SERVING_ONLY: Final = {
    "per_process_gpu_memory_fraction": "sharing a GPU",
    "gpu": "a server on a GPU",
}


class FrontEnd(Protocol):
    """A protocol by which the server is called, such as gRPC."""

    def check(self) -> None:
        """Raise UsageError if it could not start; called before the models are loaded."""
        ...

    def start(self) -> None:
        """Accept calls; called when the models are loaded."""
        ...

    def stop(self, grace: float) -> None:
        """Accept no call, let those that run end within ``grace`` seconds; does nothing if it was not started."""
        ...


@final
class EmbeddedServer:
    """Serves packages over gRPC as TensorFlow Serving does, for laptops, tests and CI.

    Args:
        options: the models, and how to serve them.

    Raises:
        UsageError: a flag that only TensorFlow Serving has, or a config that cannot be used.
    """

    def __init__(self, options: ServerOptions) -> None:
        for name, what in _SERVING_ONLY.items():
            if getattr(options, name):
                raise UsageError(
                    f"--{name}: the embedded server does not support {what}; use --engine tensorflow_model_server or docker"
                )
        for flag in options.engine_flags:
            raise UsageError(
                f"{flag}: the embedded server has no such flag; use --engine tensorflow_model_server or docker"
            )
        self._models = models_of(options)
        metrics = _metrics(options)
        self._manager = Manager(
            partial(
                _load,
                metrics=metrics,
                load=partial(
                    load_version,
                    warm_up=warm_up if options.enable_model_warmup else None,
                    batching_of=batching_of(options),
                    queued=metrics and metrics.queued,
                ),
            ),
            max_retries=options.max_num_load_retries,
            retry_interval=options.load_retry_interval_micros * MICROS,
        )
        self._source = Source(self._models, self._manager.aspire, options.file_system_poll_wait_seconds)
        self._limit = ConcurrencyLimit(options.max_calls, options.max_waiting)
        resolver = Resolver(self._manager, self._models)
        self._configuration = Configuration(
            self._models,
            self._source,
            self._manager,
            resolver,
            unavailable_labels=options.allow_version_labels_for_unavailable_models,
        )
        self._config_file = (
            ConfigFile(
                Path(options.model_config_file), self._configuration, options.model_config_file_poll_wait_seconds
            )
            if options.model_config_file and options.model_config_file_poll_wait_seconds
            else None
        )
        memory = Memory(options.max_expanded_bytes)
        self._grpc = GrpcFrontEnd(resolver, self._manager, self._configuration, self._limit, memory, metrics, options)
        self._rest = _rest(resolver, self._manager, metrics, memory, options)
        self._front_ends: Sequence[FrontEnd] = (self._grpc,) if self._rest is None else (self._grpc, self._rest)

    @property
    def port(self) -> int:
        """The TCP port of gRPC, once started."""
        return self._grpc.port

    @property
    def address(self) -> str:
        """The address that clients connect to, once started."""
        return self._grpc.address

    @property
    def rest_port(self) -> int:
        """The TCP port of REST, once started; 0 where there is none."""
        return self._rest.port if self._rest else 0

    @property
    def rest_address(self) -> str:
        """The address of REST, once started; empty where there is none."""
        return self._rest.address if self._rest else ""

    def available(self) -> dict[str, list[int]]:
        """Return the versions that are available now, highest first, by model."""
        return {
            model.name: [v.number for v in self._manager.versions(model.name) if v.state is State.AVAILABLE]
            for model in self._configuration.models
        }

    def start(self) -> None:
        """Load the models, then open the port; wait forever for a model that has no version yet.

        Raises:
            UsageError: the port is in use, or the host is not this machine.
            PackageError: a version could not be loaded.
        """
        for front_end in self._front_ends:
            front_end.check()
        self._source.start()
        try:
            _check_loaded(self._manager.wait_until_settled([model.name for model in self._models]))
            for front_end in self._front_ends:
                front_end.start()
            if self._config_file is not None:
                self._config_file.start()
        except BaseException:
            self.stop(grace=0)
            raise

    def stop(self, grace: float = DEFAULT_GRACE) -> None:
        """Refuse new calls, let the running ones end, and unload everything.

        Args:
            grace: seconds after which calls that still run are cut off.
        """
        deadline = time.monotonic() + grace
        self._limit.close(grace)
        for front_end in self._front_ends:
            front_end.stop(max(0.0, deadline - time.monotonic()))
        if self._config_file is not None:
            self._config_file.stop()
        self._source.stop()
        self._manager.stop()


# Imported here: a server that speaks gRPC alone, and a process that only loads packages, starts faster without them.
def _metrics(options: ServerOptions) -> Metrics | None:
    if not (options.rest_api_port and options.monitoring_config_file):
        return None
    from gradwire_serving._metrics import Metrics

    return Metrics()


def _rest(
    resolver: Resolver, manager: Manager, metrics: Metrics | None, memory: Memory, options: ServerOptions
) -> RestFrontEnd | None:
    if not options.rest_api_port:
        return None
    from gradwire_serving._rest import RestFrontEnd

    if metrics is not None:
        resolver.computed = metrics.computation
    return RestFrontEnd(resolver, manager, metrics, memory, options)


def _load(path: Path, *, metrics: Metrics | None, load: Callable[[Path], Servable]) -> Servable:
    if metrics is None:
        return load(path)
    with metrics.load(path):
        return load(path)


def _check_loaded(failed: Sequence[tuple[str, Version]]) -> None:
    if failed:
        raise PackageError(
            "; ".join(
                f"model {name!r} version {version.number} at {version.path} cannot be loaded: {version.failure}"
                for name, version in failed
            )
        )
