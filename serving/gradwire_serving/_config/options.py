"""What a server is started with: TensorFlow Serving's flags, by its names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from gradwire._errors import UsageError
from gradwire_serving._core import DEFAULT_MAX_EXPANDED_BYTES

DEFAULT_PORT: Final = 8500
# A server with no password is for this machine, unless its owner decides otherwise.
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_MODEL_NAME: Final = "default"
THREADS_PER_CPU: Final = 4  # TensorFlow Serving's default for --grpc_max_threads and --rest_api_num_threads
ANY_PORT: Final = -1  # for --rest_api_port, whose 0 means none
# Calls that wait for a thread of the embedded server, where their number was left to it: TensorFlow Serving refuses the
# eighth slow call on two cores.
MAX_WAITING: Final = 1000


# What TensorFlow Serving has no flag for.
EMBEDDED_ONLY: Final = ("max_expanded_bytes", "log_format", "log_requests", "token_file", "token")
TOKEN_VARIABLE: Final = "GRADWIRE_SERVER_TOKEN"  # noqa: S105 - the name of where the command finds `token`
LOG_FORMATS: Final = ("text", "json")

_NOT_NEGATIVE: Final = (
    *("port", "file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"),
    *("max_num_load_retries", "max_expanded_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Flags of a server; defaults are TensorFlow Serving's.

    Exactly one of ``directory``, ``model_base_path`` and ``model_config_file`` specifies the models.

    Attributes:
        directory: every model below it is served under its directory's name (ours; Serving gets a config for it).
        host: address to listen on (ours: TensorFlow Serving always listens on every interface).
        port: TCP port of gRPC; 0 takes any free one (embedded server only).
        grpc_socket_path: path of a Unix socket to listen on as well; empty for none.
        model_name: name of the model at ``model_base_path``.
        model_base_path: absolute directory that holds one model's versions.
        model_config_file: a ``ModelServerConfig`` as text.
        file_system_poll_wait_seconds: between polls for new versions; 0 polls once.
        model_config_file_poll_wait_seconds: between readings of the config file while the server runs; 0 reads it once.
        max_num_load_retries: how often a failed load is retried.
        load_retry_interval_micros: wait between those retries.
        grpc_max_threads: one fewer calls run at once, the others are refused; None for four a CPU (and in the
            embedded server for a queue of ``MAX_WAITING`` calls before one is refused).
        enable_model_warmup: run a package's recorded requests before it serves.
        enable_grpc_healthcheck_service: offer ``grpc.health.v1``.
        ssl_config_file: an ``SSLConfig`` as text: gRPC over TLS, with the clients' certificates too where it says so.
        token_file: file with a token that every call but those to ``grpc.health.v1`` has to bring as
            ``authorization: Bearer …``; empty for none (ours; embedded server only).
        token: that token itself, in place of a file; in no text of the options (ours; embedded server only).
        max_expanded_bytes: the most by which the tensors of one request may be larger than what was sent for them,
            where a value repeats (ours; embedded server only).
        enable_serialization_as_tensor_content: respond in ``tensor_content`` instead of typed fields.
        allow_version_labels_for_unavailable_models: accept labels in a config, whose versions are
            never available yet at start.
        enable_batching: join concurrent requests.
        batching_parameters_file: ``BatchingParameters`` as text.
        enable_per_model_batching_parameters: batch only packages that have parameters of their own, by these; compiled
            ones do.
        xla_cpu_compilation_enabled: let a CPU run packages that XLA compiles; set by ``plan`` where one is served
            (TensorFlow Serving only: the embedded server always does).
        monitoring_config_file: ``MonitoringConfig`` as text: the page of metrics, on the port of REST.
        rest_api_port: port of REST and of the page of metrics; 0 for none, ``ANY_PORT`` for any free one (embedded
            server only).
        rest_api_timeout_in_ms: how long a call over REST may take.
        rest_api_num_threads: calls over REST that run at once, the others wait; None for four a CPU.
        rest_api_enable_cors_support: let pages of other origins call REST.
        log_format: ``text`` or ``json``, one line an event (ours; embedded server only).
        log_requests: log every call (ours; embedded server only).
        per_process_gpu_memory_fraction: fraction of the GPU's memory, 0 for its own choice (TensorFlow Serving only).
        gpu: serve on a GPU: its image, and batching by parameters that ``plan`` writes (ours; TensorFlow Serving only).
        engine_flags: further flags of TensorFlow Serving, as they are.
    """

    directory: Path | None = None
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    grpc_socket_path: str = ""
    model_name: str = DEFAULT_MODEL_NAME
    model_base_path: str = ""
    model_config_file: str = ""
    file_system_poll_wait_seconds: int = 1
    model_config_file_poll_wait_seconds: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    grpc_max_threads: int | None = None
    enable_model_warmup: bool = True
    enable_grpc_healthcheck_service: bool = False
    ssl_config_file: str = ""
    token_file: str = ""
    token: str = field(default="", repr=False)
    max_expanded_bytes: int = DEFAULT_MAX_EXPANDED_BYTES
    enable_serialization_as_tensor_content: bool = False
    allow_version_labels_for_unavailable_models: bool = False
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    xla_cpu_compilation_enabled: bool = False
    monitoring_config_file: str = ""
    log_format: str = "text"
    log_requests: bool = False
    rest_api_port: int = 0
    rest_api_timeout_in_ms: int = 30_000
    rest_api_num_threads: int | None = None
    rest_api_enable_cors_support: bool = False
    per_process_gpu_memory_fraction: float = 0.0
    gpu: bool = False
    engine_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sources = [name for name in ("directory", "model_base_path", "model_config_file") if getattr(self, name)]
        if len(sources) != 1:
            raise UsageError(
                f"the models were specified by {', '.join(sources) or 'nothing'}; expected exactly one of a directory "
                "of models, --model_base_path and --model_config_file"
            )
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UsageError(f"--{name} is {getattr(self, name)}, expected 0 or more")
        if self.log_format not in LOG_FORMATS:
            raise UsageError(f"--log_format is {self.log_format!r}, expected {' or '.join(LOG_FORMATS)}")
        if self.rest_api_port < ANY_PORT:
            raise UsageError(f"--rest_api_port is {self.rest_api_port}, expected a port, 0 for none, or -1 for any")
        for name in ("rest_api_timeout_in_ms", "rest_api_num_threads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"--{name} is {value}, expected 1 or more")
        if self.grpc_max_threads is not None and self.grpc_max_threads < 2:  # noqa: PLR2004 - one fewer calls run
            raise UsageError(f"--grpc_max_threads is {self.grpc_max_threads}, expected 2 or more: one fewer calls run")

    @property
    def max_calls(self) -> int:
        """How many calls run at once: one fewer than the threads, as measured on TensorFlow Serving."""
        return (self.grpc_max_threads or THREADS_PER_CPU * (os.cpu_count() or 1)) - 1

    @property
    def rest_threads(self) -> int:
        """How many calls over REST run at once."""
        return self.rest_api_num_threads or THREADS_PER_CPU * (os.cpu_count() or 1)

    @property
    def max_waiting(self) -> int:
        """How many calls may wait for their turn in the embedded server: none where the threads are set."""
        return 0 if self.grpc_max_threads else MAX_WAITING


_NOT_FLAGS: Final = (
    "directory",
    "host",
    "port",
    "gpu",
    "token",
    "engine_flags",
)  # passed in other ways, or always passed


def flags(options: ServerOptions) -> list[str]:
    """Return options as TensorFlow Serving's flags: the port, what is not the default, and the further ones."""
    changed = [
        f"--{option.name}={_text(value)}"
        for option in fields(ServerOptions)
        if option.name not in _NOT_FLAGS and (value := getattr(options, option.name)) != option.default
    ]
    return [f"--port={options.port}", *changed, *options.engine_flags]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
