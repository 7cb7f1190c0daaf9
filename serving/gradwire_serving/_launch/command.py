"""How a server is started: its command line, and the config files that go with it."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from gradwire._errors import PackageError, UsageError
from gradwire._package import CARD_FILE, Card, version_directories
from gradwire_serving._config import (
    ANY_PORT,
    DEFAULT_MODEL_NAME,
    DEFAULT_PORT,
    EMBEDDED_ONLY,
    TOKEN_VARIABLE,
    ServerOptions,
    config_text,
    flags,
    models_of,
)
from gradwire_serving._core import ModelConfig, VersionPolicy
from gradwire_serving._launch.configs import batching_text, config_path, monitoring_text
from gradwire_serving._launch.engines import DOCKER, EMBEDDED, ENGINES, IMAGE, MODEL_SERVER

NOBODY: Final = 65534  # the unprivileged user, in place of root
CONTAINER_MODELS: Final = PurePosixPath("/models")
CONTAINER_CONFIG: Final = PurePosixPath("/config")
CONTAINER_REST_PORT: Final = 8501
OTHERS: Final = 0o077  # the permissions of a file that are not its owner's


@dataclass(frozen=True, slots=True)
class Plan:
    """How one server is started.

    Attributes:
        engine: which server.
        argv: its command line.
        files: the config files that have to be written first, by path.
        notice: what its user must know; empty for nothing.
    """

    engine: str
    argv: tuple[str, ...]
    files: Mapping[Path, str] = field(default_factory=dict)
    notice: str = ""

    def shell_text(self) -> str:
        """Return the plan as lines for a shell, to read or to run by hand."""
        parents = sorted({shlex.quote(str(path.parent)) for path in self.files})
        lines = [f"mkdir -p -m 700 {parent}\n" for parent in parents]
        lines += [f"cat > {shlex.quote(str(path))} <<'EOF'\n{text}EOF\n" for path, text in self.files.items()]
        return "".join([*lines, shlex.join(self.argv)])

    def write_files(self) -> None:
        """Write the config files.

        Raises:
            UsageError: their directory is a link, another user's, or open to others.
        """
        for path, text in self.files.items():
            _check_directory(path.parent)
            path.write_text(text, encoding="utf-8")


def _check_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()  # not stat: somebody may have planted a link to another directory
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & OTHERS:
        raise UsageError(f"{directory} is not a directory of yours alone, expected that or none: remove it")


def plan(engine: str, options: ServerOptions) -> Plan:
    """Plan how to start a server.

    Args:
        engine: one of ``ENGINES``.
        options: what to serve, and how.

    Raises:
        UsageError: the options cannot be used, or not by this engine.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}; expected {', '.join(ENGINES)}")
    if engine == EMBEDDED:
        models = [] if options.directory is None else [str(options.directory)]
        own = flags(replace(options, engine_flags=()))
        more = ("--", *options.engine_flags) if options.engine_flags else ()
        return Plan(
            EMBEDDED, ("gradwire", "serve", *models, "--engine=embedded", f"--host={options.host}", *own, *more)
        )
    if not options.port:
        raise UsageError(f"--port is 0, which only the embedded server takes for any free port; give {engine} a number")
    for name in EMBEDDED_ONLY:
        if getattr(options, name) != ServerOptions.__dataclass_fields__[name].default:
            flag = TOKEN_VARIABLE if name == "token" else f"--{name}"
            raise UsageError(f"{flag} is of the embedded server alone; leave it out, or use --engine embedded")
    if options.rest_api_port == ANY_PORT:
        raise UsageError(f"--rest_api_port is -1, which only the embedded server takes; give {engine} a number")
    if options.rest_api_port and options.enable_serialization_as_tensor_content:
        raise UsageError(
            f"with --enable_serialization_as_tensor_content {engine} answers REST with wrong numbers and status 200; "
            "leave out one of it and --rest_api_port"
        )
    options, files = _completed(options)
    return _plan_docker(options, files) if engine == DOCKER else _plan_model_server(options, files)


def command(engine: str, options: ServerOptions) -> list[str]:
    """Return the command line of a server; see ``plan``."""
    return list(plan(engine, options).argv)


def _completed(options: ServerOptions) -> tuple[ServerOptions, dict[Path, str]]:
    """Add what follows from the packages and from the other options: flags, and config files by path."""
    files: dict[Path, str] = {}
    compiled = _compiled_versions(options)
    if any(compiled):
        options = replace(options, xla_cpu_compilation_enabled=True)  # without it every call of a compiled one fails
    if options.rest_api_port and not options.monitoring_config_file:
        path = _add(files, "monitoring", monitoring_text())
        options = replace(options, monitoring_config_file=path)
    if options.gpu:
        options = replace(options, enable_batching=True)
        if not options.batching_parameters_file:
            path = _add(files, "batching", batching_text(options.max_calls + 1))
            options = replace(options, batching_parameters_file=path)
        if compiled and all(
            compiled
        ):  # they bring parameters with the sizes that they compiled; others would have none
            options = replace(options, enable_per_model_batching_parameters=True)
    return options, files


def _add(files: dict[Path, str], kind: str, text: str) -> str:
    path = config_path(kind, text)
    files[path] = text
    return str(path)


def _compiled_versions(options: ServerOptions) -> list[bool]:
    """Return of each version that can be read here whether XLA compiled it."""
    if options.model_config_file and not Path(options.model_config_file).is_file():
        return []  # a path inside a container, which cannot be read here
    bases = [model.base_path for model in models_of(options, remote=True) if model.base_path.is_dir()]
    return [_is_compiled(version) for base in bases for version in version_directories(base).values()]


def _is_compiled(version: Path) -> bool:
    try:
        return Card.from_json((version / CARD_FILE).read_bytes()).compiled is not None
    except (OSError, PackageError):  # a SavedModel of another origin, or a card of a newer format
        return False


def _plan_model_server(options: ServerOptions, files: dict[Path, str]) -> Plan:
    notice = (
        f"{MODEL_SERVER} has no flag for the address: it listens on every interface of this machine; shield port "
        f"{options.port}, or use --engine docker"
    )
    if options.directory is not None:
        models = models_of(options)
        if len(models) == 1:
            options = _with_one_model(options, models[0])
        else:
            path = _add(files, "models", config_text(models))
            options = replace(options, directory=None, model_config_file=path)
    return Plan(MODEL_SERVER, (MODEL_SERVER, *flags(options)), files, notice)


def _plan_docker(options: ServerOptions, files: dict[Path, str]) -> Plan:
    if options.grpc_socket_path:
        raise UsageError("--grpc_socket_path would lie inside the container; use --port, or another engine")
    models = models_of(options, remote=True)
    mounts = [(str(model.base_path), str(CONTAINER_MODELS / model.name)) for model in models if not model.url]
    models = [model if model.url else replace(model, base_path=Path(CONTAINER_MODELS / model.name)) for model in models]
    inside = replace(options, port=DEFAULT_PORT)
    published = [f"{options.host}:{options.port}:{DEFAULT_PORT}"]
    if options.rest_api_port:
        published.append(f"{options.host}:{options.rest_api_port}:{CONTAINER_REST_PORT}")
        inside = replace(inside, rest_api_port=CONTAINER_REST_PORT)
    for name in ("batching_parameters_file", "monitoring_config_file", "ssl_config_file"):
        if getattr(options, name):
            file = Path(getattr(options, name)).absolute()
            mounts.append((str(file), str(CONTAINER_CONFIG / file.name)))
            inside = replace(inside, **{name: str(CONTAINER_CONFIG / file.name)})
    if len(models) == 1 and not models[0].labels and models[0].policy == VersionPolicy():
        return Plan(DOCKER, tuple(_docker_run(published, mounts, _with_one_model(inside, models[0]))), files)
    path = _add(files, "models", config_text(models))
    target = str(CONTAINER_CONFIG / Path(path).name)
    inside = replace(inside, directory=None, model_base_path="", model_config_file=target)
    return Plan(DOCKER, tuple(_docker_run(published, [*mounts, (path, target)], inside)), files)


def _docker_run(published: Sequence[str], mounts: Sequence[tuple[str, str]], options: ServerOptions) -> list[str]:
    return [
        *(DOCKER, "run", "--rm", "--init"),
        *(f"--publish={ports}" for ports in published),
        f"--user={os.getuid() or NOBODY}:{os.getgid() or NOBODY}",
        *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *(("--gpus=all", "--env=TF_FORCE_GPU_ALLOW_GROWTH=true") if options.gpu else ()),
        *(f"--mount=type=bind,source={source},target={target},readonly" for source, target in mounts),
        f"--entrypoint={MODEL_SERVER}",  # the image's own script names a model and a REST port of its own
        f"{IMAGE}-gpu" if options.gpu else IMAGE,
        *flags(options),
    ]


def _with_one_model(options: ServerOptions, model: ModelConfig) -> ServerOptions:
    return replace(
        options,
        directory=None,
        model_config_file="",
        model_name=model.name or DEFAULT_MODEL_NAME,
        model_base_path=model.url or str(model.base_path),
    )
