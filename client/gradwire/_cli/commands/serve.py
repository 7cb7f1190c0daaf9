"""``gradwire serve``: the embedded server, or TensorFlow Serving by the same flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gradwire._cli.choices import Engine
from gradwire._cli.console import note, number, say
from gradwire._cli.lazy_imports import heavy, restore_stderr
from gradwire._connect import connect
from gradwire._errors import GradwireError
from gradwire._package import boxes_of

NAME: Final = "serve"
CALL_THREADS: Final = 64  # TensorFlow Serving's default, four a CPU, refuses the eighth call on two cores
ENGINE_FLAGS: Final = "Flags of TensorFlow Serving"
SWITCHES: Final = frozenset(
    {
        "enable-model-warmup",
        "enable-grpc-healthcheck-service",
        "enable-serialization-as-tensor-content",
        "allow-version-labels-for-unavailable-models",
        "enable-batching",
        "enable-per-model-batching-parameters",
        "xla-cpu-compilation-enabled",
    }
)
DEFAULT_DIRECTORY: Final = Path("models")


def _flag(help: str) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(help=help, rich_help_panel=ENGINE_FLAGS)


def command(
    directory: Annotated[Path | None, typer.Argument(help="Every model below it is served.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="auto: the first that this machine has, the real ones first.")
    ] = Engine.AUTO,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 takes any free one (embedded).")] = 8500,
    print_command: Annotated[bool, typer.Option("--print-command", help="Show what would run; run nothing.")] = False,
    model_name: Annotated[str, _flag("Name of the model at --model_base_path.")] = "default",
    model_base_path: Annotated[str, _flag("One model's directory, instead of a directory of models.")] = "",
    model_config_file: Annotated[str, _flag("A ModelServerConfig as text, instead of a directory.")] = "",
    grpc_max_threads: Annotated[int, _flag("One fewer calls run at once, the others are refused.")] = CALL_THREADS,
    grpc_socket_path: Annotated[str, _flag("A Unix socket to listen on as well.")] = "",
    file_system_poll_wait_seconds: Annotated[int, _flag("Between looks for new versions.")] = 1,
    max_num_load_retries: Annotated[int, _flag("How often a failed load is tried again.")] = 5,
    load_retry_interval_micros: Annotated[int, _flag("Wait between those tries.")] = 60_000_000,
    enable_model_warmup: Annotated[bool, _flag("Run a package's recorded requests first.")] = True,
    enable_grpc_healthcheck_service: Annotated[bool, _flag("Answer grpc.health.v1.")] = False,
    enable_serialization_as_tensor_content: Annotated[bool, _flag("Answer in tensor_content.")] = False,
    allow_version_labels_for_unavailable_models: Annotated[bool, _flag("Let a config name labels.")] = False,
    enable_batching: Annotated[bool, _flag("Join concurrent requests (real engines).")] = False,
    batching_parameters_file: Annotated[str, _flag("BatchingParameters as text (real engines).")] = "",
    enable_per_model_batching_parameters: Annotated[
        bool, _flag("Batch only packages with parameters of their own (real engines).")
    ] = False,
    xla_cpu_compilation_enabled: Annotated[
        bool, _flag("Let a CPU run XLA; set where a package needs it (real engines).")
    ] = False,
    monitoring_config_file: Annotated[str, _flag("MonitoringConfig as text (real engines).")] = "",
    rest_api_port: Annotated[int, _flag("Port of REST and metrics (real engines).")] = 0,
    per_process_gpu_memory_fraction: Annotated[float, _flag("Share of the GPU's memory (real engines).")] = 0.0,
) -> None:
    """Serve every model below a directory over gRPC; Ctrl-C drains.

    Flags keep TensorFlow Serving's names, with underscores or hyphens.

    Example: [bold]gradwire serve models --port 8500[/bold]
    """
    flags = {name: value for name, value in locals().items() if name not in ("directory", "engine", "print_command")}
    if directory is None and not (model_base_path or model_config_file):
        directory = DEFAULT_DIRECTORY
    serving = heavy("gradwire_serving")
    options = serving.ServerOptions(directory=directory, **flags)
    if print_command:
        wanted = engine if engine != Engine.AUTO else serving.find_engine(engine.value)
        say(serving.plan(str(wanted), options).shell_text())
        return
    chosen = serving.find_engine(engine.value)
    if chosen != Engine.EMBEDDED:
        restore_stderr()
    serving.launch(chosen, options, say=note, ready=_announce)


def _announce(server: Any) -> None:
    say(f"serving on {server.address}")
    for name, versions in server.available().items():
        say(f"  {name}: version {', '.join(map(str, versions))}")
    name = next(iter(server.available()))
    say(f"ask it:  gradwire query {server.address} {name} {_example_inputs(server.address, name)}")
    say(f'or:      gradwire.connect("{server.address}", "{name}").value_and_grad(…)')
    say("stop it with Ctrl-C")


def _example_inputs(address: str, name: str) -> str:
    """Writes the middle of a model's domain as options of `gradwire query`; just the option where nothing is known."""
    try:
        with connect(address, name) as model:
            boxes = boxes_of(model.card, None)
    except GradwireError:
        return "--input …"
    middles = {wrt: ((lower + upper) / 2).reshape(-1) for wrt, (lower, upper) in boxes.items()}
    return " ".join(f'--input "{wrt}={",".join(map(number, middle))}"' for wrt, middle in middles.items())
