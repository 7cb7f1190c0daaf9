"""How a server is started: its command line, and the config file that goes with it."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from gradwire._errors import PackageError, UsageError
from gradwire._package import CARD_FILE, Card, version_directories
from gradwire_serving._config import (
    DEFAULT_MODEL_NAME,
    DEFAULT_PORT,
    EMBEDDED_ONLY,
    ServerOptions,
    config_text,
    flags,
    models_of,
)
from gradwire_serving._core import ModelConfig, VersionPolicy
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
        config_path: where its ModelServerConfig has to be written first; None where it needs none.
        config: that file's text.
        notice: what its user must know; empty for nothing.
    """

    engine: str
    argv: tuple[str, ...]
    config_path: Path | None = None
    config: str = ""
    notice: str = ""

    def shell_text(self) -> str:
        """Return the plan as lines for a shell, to read or to run by hand."""
        line = shlex.join(self.argv)
        if self.config_path is None:
            return line
        path = shlex.quote(str(self.config_path))
        parent = shlex.quote(str(self.config_path.parent))
        return f"mkdir -p -m 700 {parent}\ncat > {path} <<'EOF'\n{self.config}EOF\n{line}"

    def write_config(self) -> None:
        """Write the config file, where there is one.

        Raises:
            UsageError: its directory is a link, another user's, or open to others.
        """
        if self.config_path is None:
            return
        directory = self.config_path.parent
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()  # not stat: somebody may have planted a link to another directory
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & OTHERS:
            raise UsageError(f"{directory} is not a directory of yours alone, expected that or none: remove it")
        self.config_path.write_text(self.config, encoding="utf-8")


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
        argv = ("gradwire", "serve", *models, "--engine=embedded", f"--host={options.host}", *flags(options))
        return Plan(EMBEDDED, argv)
    if not options.port:
        raise UsageError(f"--port is 0, which only the embedded server takes for any free port; give {engine} a number")
    for name in EMBEDDED_ONLY:
        if getattr(options, name) != ServerOptions.__dataclass_fields__[name].default:
            raise UsageError(f"--{name} is of the embedded server alone; leave it out, or use --engine embedded")
    options = _with_xla(options)
    return _plan_docker(options) if engine == DOCKER else _plan_model_server(options)


def command(engine: str, options: ServerOptions) -> list[str]:
    """Return the command line of a server; see ``plan``."""
    return list(plan(engine, options).argv)


def _with_xla(options: ServerOptions) -> ServerOptions:
    """Set the flag without which a CPU responds INTERNAL, where any version of a model is compiled by XLA."""
    if options.model_config_file and not Path(options.model_config_file).is_file():
        return options  # a path inside a container, which cannot be read here
    bases = [model.base_path for model in models_of(options) if model.base_path.is_dir()]
    if any(_is_compiled(version) for base in bases for version in version_directories(base).values()):
        return replace(options, xla_cpu_compilation_enabled=True)
    return options


def _is_compiled(version: Path) -> bool:
    try:
        return Card.from_json((version / CARD_FILE).read_bytes()).compiled is not None
    except (OSError, PackageError):  # a SavedModel of another origin, or a card of a newer format
        return False


def _plan_model_server(options: ServerOptions) -> Plan:
    notice = (
        f"{MODEL_SERVER} has no flag for the address: it listens on every interface of this machine; shield port "
        f"{options.port}, or use --engine docker"
    )
    if options.directory is None:
        return Plan(MODEL_SERVER, (MODEL_SERVER, *flags(options)), notice=notice)
    models = models_of(options)
    if len(models) == 1:
        options = _with_one_model(options, models[0])
        return Plan(MODEL_SERVER, (MODEL_SERVER, *flags(options)), notice=notice)
    text = config_text(models)
    path = _config_path(text)
    options = replace(options, directory=None, model_config_file=str(path))
    return Plan(MODEL_SERVER, (MODEL_SERVER, *flags(options)), path, text, notice)


def _plan_docker(options: ServerOptions) -> Plan:
    if options.grpc_socket_path:
        raise UsageError("--grpc_socket_path would lie inside the container; use --port, or another engine")
    models = models_of(options)
    mounts = [(str(model.base_path), str(CONTAINER_MODELS / model.name)) for model in models]
    models = [replace(model, base_path=Path(CONTAINER_MODELS / model.name)) for model in models]
    inside = replace(options, port=DEFAULT_PORT)
    published = [f"{options.host}:{options.port}:{DEFAULT_PORT}"]
    if options.rest_api_port:
        published.append(f"{options.host}:{options.rest_api_port}:{CONTAINER_REST_PORT}")
        inside = replace(inside, rest_api_port=CONTAINER_REST_PORT)
    for name in ("batching_parameters_file", "monitoring_config_file"):
        if getattr(options, name):
            file = Path(getattr(options, name)).absolute()
            mounts.append((str(file), str(CONTAINER_CONFIG / file.name)))
            inside = replace(inside, **{name: str(CONTAINER_CONFIG / file.name)})
    if len(models) == 1 and not models[0].labels and models[0].policy == VersionPolicy():
        return Plan(DOCKER, tuple(_docker_run(published, mounts, _with_one_model(inside, models[0]))))
    text = config_text(models)
    path = _config_path(text)
    target = str(CONTAINER_CONFIG / path.name)
    inside = replace(inside, directory=None, model_base_path="", model_config_file=target)
    return Plan(DOCKER, tuple(_docker_run(published, [*mounts, (str(path), target)], inside)), path, text)


def _docker_run(published: Sequence[str], mounts: Sequence[tuple[str, str]], options: ServerOptions) -> list[str]:
    return [
        *(DOCKER, "run", "--rm", "--init"),
        *(f"--publish={ports}" for ports in published),
        f"--user={os.getuid() or NOBODY}:{os.getgid() or NOBODY}",
        *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *(f"--mount=type=bind,source={source},target={target},readonly" for source, target in mounts),
        f"--entrypoint={MODEL_SERVER}",  # the image's own script names a model and a REST port of its own
        IMAGE,
        *flags(options),
    ]


def _with_one_model(options: ServerOptions, model: ModelConfig) -> ServerOptions:
    return replace(
        options,
        directory=None,
        model_config_file="",
        model_name=model.name or DEFAULT_MODEL_NAME,
        model_base_path=str(model.base_path),
    )


def _config_path(text: str) -> Path:
    # Named by its content: printed today and run tomorrow, it is the same file; no two servers share one by chance.
    name = f"models-{hashlib.sha256(text.encode()).hexdigest()[:12]}.config"
    return Path(tempfile.gettempdir()) / f"gradwire-{os.getuid()}" / name
