"""``gradwire serve``: the embedded server, or TensorFlow Serving with the same flags."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, final

import typer

from gradwire._cli.arguments import expand_options
from gradwire._cli.choices import Engine
from gradwire._cli.console import note, number, say
from gradwire._cli.explore import DEFAULT_HOST, DEFAULT_PORT, Application, Explorer, PageServer, ServerSource
from gradwire._cli.io import Connection
from gradwire._cli.lazy_imports import import_heavy
from gradwire._connect import connect
from gradwire._errors import GradwireError, UsageError
from gradwire._package import boxes_of

NAME: Final = "serve"
CALL_THREADS: Final = 64  # TensorFlow Serving's default, four per CPU, refuses the eighth call on two cores
ENGINE_FLAGS: Final = "Flags of TensorFlow Serving"
TOKEN_VARIABLE: Final = "GRADWIRE_SERVER_TOKEN"  # noqa: S105 - a name
DEFAULT_DIRECTORY: Final = Path("models")
TRUE: Final = ("true", "1")
FALSE: Final = ("false", "0")


def _flag(help: str) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(help=help, rich_help_panel=ENGINE_FLAGS)


@final
@dataclass(frozen=True)
class ServeOptions:
    """The options of ``gradwire serve``: those of ``gradwire_serving.ServerOptions``, and some of its own."""

    directory: Annotated[Path | None, typer.Argument(help="Directory of models, all of which are served.")] = None
    engine: Annotated[
        Engine, typer.Option(help="Server to run. auto: tensorflow_model_server, docker or embedded, by availability.")
    ] = Engine.AUTO
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 for any free one (embedded only).")] = 8500
    explore: Annotated[
        bool, typer.Option("--explore", help="Serve a page to explore the models on, too; see `gradwire explore`.")
    ] = False
    explore_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of that page, on 127.0.0.1; 0 for any free one.")
    ] = DEFAULT_PORT
    print_command: Annotated[bool, typer.Option("--print-command", help="Print the command instead of running.")] = (
        False
    )
    model_name: Annotated[str, _flag("Name of the model at --model_base_path.")] = "default"
    model_base_path: Annotated[str, _flag("Directory of one model, instead of a directory of models.")] = ""
    model_config_file: Annotated[str, _flag("ModelServerConfig as text, instead of a directory of models.")] = ""
    grpc_max_threads: Annotated[int, _flag("Call threads: one call fewer runs at once; further calls are refused.")] = (
        CALL_THREADS
    )
    grpc_socket_path: Annotated[str, _flag("Unix socket to listen on as well.")] = ""
    file_system_poll_wait_seconds: Annotated[int, _flag("Seconds between checks for new versions.")] = 1
    model_config_file_poll_wait_seconds: Annotated[int, _flag("Seconds between readings of that file; 0: once.")] = 0
    max_num_load_retries: Annotated[int, _flag("Retries of a failed load.")] = 5
    load_retry_interval_micros: Annotated[int, _flag("Microseconds between those retries.")] = 60_000_000
    enable_model_warmup: Annotated[bool, _flag("Run a package's warm-up requests before it is served.")] = True
    enable_grpc_healthcheck_service: Annotated[bool, _flag("Serve grpc.health.v1.")] = False
    ssl_config_file: Annotated[
        str, _flag("SSLConfig as text: gRPC over TLS, with client certificates if it says so.")
    ] = ""
    token_file: Annotated[
        str,
        _flag(
            f"File with the token that calls have to send as 'authorization: Bearer …' (embedded only); or the token "
            f"itself in the variable {TOKEN_VARIABLE}."
        ),
    ] = ""
    max_expanded_bytes: Annotated[
        int, _flag("Bytes by which the tensors of one request may expand, where a value repeats (embedded only).")
    ] = 2**26
    enable_serialization_as_tensor_content: Annotated[bool, _flag("Respond with tensor_content.")] = False
    allow_version_labels_for_unavailable_models: Annotated[
        bool, _flag("Accept labels of versions that are not loaded yet.")
    ] = False
    enable_batching: Annotated[bool, _flag("Batch concurrent requests.")] = False
    batching_parameters_file: Annotated[str, _flag("BatchingParameters as text.")] = ""
    enable_per_model_batching_parameters: Annotated[bool, _flag("Batch only packages with their own parameters.")] = (
        False
    )
    xla_cpu_compilation_enabled: Annotated[
        bool, _flag("Run XLA on the CPU; set automatically for compiled packages (TensorFlow Serving only).")
    ] = False
    monitoring_config_file: Annotated[str, _flag("MonitoringConfig as text: metrics, on the port of REST.")] = ""
    rest_api_port: Annotated[
        int, _flag("Port of REST and metrics; 0 for none, -1 for any free one (embedded only).")
    ] = 0
    rest_api_timeout_in_ms: Annotated[int, _flag("Milliseconds that a call over REST may take.")] = 30_000
    rest_api_num_threads: Annotated[int | None, _flag("Calls over REST that run at once; by default four a CPU.")] = (
        None
    )
    rest_api_enable_cors_support: Annotated[bool, _flag("Let pages of other origins call REST.")] = False
    log_format: Annotated[str, _flag("Form of the log: text or json, one line an event (embedded only).")] = "text"
    log_requests: Annotated[bool, _flag("Log every call (embedded only).")] = False
    per_process_gpu_memory_fraction: Annotated[
        float, _flag("Fraction of the GPU's memory to use (TensorFlow Serving only).")
    ] = 0.0
    gpu: Annotated[bool, typer.Option(help="Serve on a GPU: its image, and batching (TensorFlow Serving only).")] = (
        False
    )
    engine_flags: Annotated[list[str] | None, typer.Option("--engine-flag", hidden=True)] = (
        None  # what stands behind --
    )


OWN: Final = ("engine", "print_command", "explore", "explore_port")
END_OF_OPTIONS: Final = "--"
SWITCHES: Final = frozenset(
    each.name.replace("_", "-")
    for each in fields(ServeOptions)
    if each.name not in OWN and isinstance(each.default, bool)
)


@expand_options
def command(options: ServeOptions) -> None:
    """Serve every model in a directory over gRPC; Ctrl-C drains and stops.

    Flags have TensorFlow Serving's names, with underscores or hyphens. What follows `--` goes to it as it is.

    Example: [bold]gradwire serve models --port 8500[/bold]
    """
    if options.print_command and options.explore:
        raise UsageError("--print-command prints how the server alone is started: leave out --explore")
    flags = {each.name: getattr(options, each.name) for each in fields(options) if each.name not in OWN}
    flags["engine_flags"] = tuple(options.engine_flags or ())
    if options.directory is None and not (options.model_base_path or options.model_config_file):
        flags["directory"] = DEFAULT_DIRECTORY
    flags["token"] = os.environ.get(TOKEN_VARIABLE, "")
    serving = import_heavy("gradwire_serving")
    server_options = serving.ServerOptions(**flags)
    if options.explore and (server_options.ssl_config_file or server_options.token or server_options.token_file):
        raise UsageError(
            "--explore beside a server that wants a token or certificates would let in whoever reaches the page: leave it "
            "out, and run `gradwire explore ADDRESS NAME` with the token or certificates of a client"
        )
    if options.print_command:
        named = options.engine != Engine.AUTO
        engine = options.engine.value if named else serving.find_engine(options.engine.value)
        say(serving.plan(engine, server_options).shell_text())
        return
    engine = serving.find_engine(options.engine.value)
    port = options.explore_port if options.explore else None
    ready = partial(_announce, engine, server_options, port)
    exit_code = serving.launch(engine, server_options, say=note, ready=ready)
    if exit_code:
        raise typer.Exit(exit_code)


def with_hyphens(arguments: list[str]) -> list[str]:
    """Rewrite TensorFlow Serving's spelling of flags, ``--enable_batching=true``, to ``--enable-batching``.

    Args:
        arguments: of the command line, in either spelling.

    Returns:
        The arguments with hyphens in the names of options, and switches as ``--name`` or ``--no-name``; those behind
        ``--`` as values of ``--engine-flag``.
    """
    end = arguments.index(END_OF_OPTIONS) if END_OF_OPTIONS in arguments else len(arguments)
    own = [_with_hyphens(argument) if argument.startswith("--") else argument for argument in arguments[:end]]
    return own + [f"--engine-flag={argument}" for argument in arguments[end + 1 :]]


def _with_hyphens(argument: str) -> str:
    name, equals, value = argument[2:].partition("=")
    name = name.replace("_", "-")
    if name in SWITCHES and value.lower() in TRUE:
        return f"--{name}"
    if name in SWITCHES and value.lower() in FALSE:
        return f"--no-{name}"
    return f"--{name}{equals}{value}"


def _announce(engine: str, options: Any, page_port: int | None, server: Any) -> None:
    what = (
        ", by the embedded server: for laptops, tests and CI, not for production" if engine == Engine.EMBEDDED else ""
    )
    say(f"serving on {server.address}{what}")
    if server.rest_address:
        say(f"  REST: http://{server.rest_address}/v1/models/NAME:predict")
    for name, versions in server.available().items():
        say(f"  {name}: version {', '.join(map(str, versions))}")
    if page_port is not None:
        say(f"  page: {_start_page(server, page_port).url}")
    name = next(iter(server.available()), None)
    if name is None:  # the models are named in a config file that only the server can read
        return
    tls, token = bool(options.ssl_config_file), bool(options.token or options.token_file)
    # A server that wants certificates or a token is not asked: this process need not have them.
    inputs = "--input …" if tls or token else _example_inputs(server.address, name)
    words = " --ca-file …" * tls + " --token-file …" * token
    arguments = ", tls=…" * tls + ", token=…" * token
    say(f"query it:  gradwire query {server.address} {name}{words} {inputs}")
    say(f'or:        gradwire.connect("{server.address}", "{name}"{arguments}).value_and_grad(…)')
    say("stop it with Ctrl-C")


def _start_page(server: Any, port: int) -> PageServer:
    def open_source(name: str) -> ServerSource:
        return ServerSource(server.address, name, Connection())

    explorer = Explorer(lambda: list(server.available()), open_source, server.address)
    page = PageServer(Application(explorer, DEFAULT_HOST), DEFAULT_HOST, port)
    page.start()
    return page


def _example_inputs(address: str, name: str) -> str:
    """Return the middle of a model's domain as options of `gradwire query`, or a bare option where it is unknown."""
    try:
        with connect(address, name) as model:
            boxes = boxes_of(model.card, None)
    except GradwireError:
        return "--input …"
    middles = {wrt: ((lower + upper) / 2).reshape(-1) for wrt, (lower, upper) in boxes.items()}
    return " ".join(f'--input "{wrt}={",".join(map(number, middle))}"' for wrt, middle in middles.items())
