"""How a command reaches a model: the options of every command that takes an address."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, final

import typer

from gradwire._cli.choices import PackageEngine
from gradwire._cli.lazy_imports import import_heavy, quiet_tensorflow
from gradwire._connect import connect, load
from gradwire._errors import UsageError
from gradwire._model import DEFAULT_TIMEOUT, Model
from gradwire._package import ONNX_SUFFIX
from gradwire._wire import TLS

PANEL: Final = "Connection"
PREFIX: Final = "GRADWIRE_"  # of the variables
LOCAL: Final = ("timeout", "engine_local")  # what a package in this process takes, too


def _option(help: str, variable: str, *names: str, **constraints: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*names, help=help, envvar=f"{PREFIX}{variable}", rich_help_panel=PANEL, **constraints)


@final
@dataclass(frozen=True)
class Connection:
    """How a command reaches the model at an address; ``expand_options`` makes options of the fields."""

    version: Annotated[int | None, _option("Version of the model. Default: the newest.", "VERSION", min=0)] = None
    label: Annotated[str | None, _option("Label of the version, instead of its number.", "LABEL")] = None
    tls: Annotated[bool, _option("Encrypt, and trust the system's root certificates.", "TLS", "--tls")] = False
    ca_file: Annotated[
        Path | None, _option("Encrypt, and trust the authorities in this file (PEM).", "CA_FILE", show_default=False)
    ] = None
    cert_file: Annotated[Path | None, _option("Certificate of this client (PEM), with --key-file.", "CERT_FILE")] = None
    key_file: Annotated[Path | None, _option("Key of this client (PEM).", "KEY_FILE")] = None
    server_name: Annotated[
        str | None, _option("Name that the server's certificate has, if not the address's.", "SERVER_NAME")
    ] = None
    token_file: Annotated[
        Path | None,
        _option("File with a token, read for each call and sent as 'authorization: Bearer …'.", "TOKEN_FILE"),
    ] = None
    metadata: Annotated[
        list[str] | None, _option("NAME=VALUE, sent with each call; repeatable, in the variable by blanks.", "METADATA")
    ] = None
    timeout: Annotated[
        float | None, _option(f"Seconds for each call. Default: {DEFAULT_TIMEOUT:g}.", "TIMEOUT", show_default=False)
    ] = None
    engine_local: Annotated[
        PackageEngine | None,
        _option(
            "What runs a package in this process: tensorflow, native (C for this machine) or auto. Default: tensorflow.",
            "ENGINE_LOCAL",
            show_default=False,
        ),
    ] = None

    @property
    def seconds(self) -> float:
        """The timeout of a call."""
        return DEFAULT_TIMEOUT if self.timeout is None else self.timeout

    def connect(self, target: str, name: str) -> Model:
        """Connect to a model.

        Raises:
            GradwireError: as for ``gradwire.connect``.
        """
        version, label = self.chosen()
        token = None if self.token_file is None else partial(_read_token, self.token_file)
        return connect(
            target,
            name,
            version=version,
            label=label,
            timeout=self.seconds,
            tls=self._tls(),
            token=token,
            metadata=dict(_pair(text) for text in self.metadata or []),
        )

    def require_unused(self, local: str) -> None:
        """Raise UsageError if an option of the command line says how to reach a server, where there is none.

        A variable may stay: it is set for all commands.
        """
        for each in fields(self):
            if each.name not in LOCAL and self._is_typed(each.name):
                option = each.name.replace("_", "-")
                hint = f"; a version is a directory, such as {local}/1" if each.name in ("version", "label") else ""
                raise UsageError(f"--{option} is for an address, and {local} is {what_is(local)}: leave it out{hint}")

    def require_remote(self, target: str) -> None:
        """Raise UsageError if an option of the command line says how to run a package, where a server does."""
        if self._is_typed("engine_local"):
            raise UsageError(f"--engine-local is for a package's directory, and {target} is an address: leave it out")

    def load(self, path: str) -> Model:
        """Load a package or a file into this process.

        Raises:
            GradwireError: as for ``gradwire.load``.
        """
        if self.engine_local is None or (Path(path).is_file() and not self._is_typed("engine_local")):
            return load(path, timeout=self.seconds)
        return load(path, timeout=self.seconds, engine=self.engine_local.value)

    def chosen(self) -> tuple[int | None, str | None]:
        """Return version and label; what is typed goes before a variable."""
        version, label = self.version, self.label
        if version is not None and label is not None and self._is_typed("version") != self._is_typed("label"):
            return (version, None) if self._is_typed("version") else (None, label)
        return version, label

    def words(self) -> list[str]:
        """Return the options that repeat the connection, but for version and label; metadata without their values."""
        files = {each.name: getattr(self, each.name) for each in fields(self) if each.name.endswith("_file")}
        options = {**files, "server_name": self.server_name}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
        words += [f"--metadata={_pair(text)[0]}=…" for text in self.metadata or []]
        return ["--tls", *words] if self.tls else words

    def python(self) -> str:
        """Return the same as arguments of ``gradwire.connect``, each after a comma."""
        files = [None if each is None else str(each) for each in (self.ca_file, self.key_file, self.cert_file)]
        tls = self._tls()
        text = (
            f", tls=gradwire.TLS({', '.join(map(repr, [*files, self.server_name]))})"
            if tls not in (True, False)
            else ""
        )
        text = ", tls=True" if tls is True else text
        if self.token_file is not None:
            text += f", token=lambda: pathlib.Path({str(self.token_file)!r}).read_text().strip()"
        if self.metadata:
            text += f", metadata={ {_pair(entry)[0]: '…' for entry in self.metadata}!r}"
        return text

    def _is_typed(self, option: str) -> bool:
        """Whether an option stands on the command line, and not only in its variable."""
        value = getattr(self, option)
        if value in (None, False):
            return False
        text = " ".join(self.metadata or []) if option == "metadata" else str(value)
        variable = os.environ.get(f"{PREFIX}{option.upper()}", "")
        return not variable or (value is not True and text != variable)

    def _tls(self) -> TLS | bool:
        files = (self.ca_file, self.key_file, self.cert_file, self.server_name)
        return self.tls if all(file is None for file in files) else TLS(*files)


def is_local(target: str) -> bool:
    """Whether a target is a package's directory or an ONNX file, and no address."""
    return Path(target).is_dir() or Path(target).suffix == ONNX_SUFFIX


def what_is(target: str) -> str:
    """Name what a local target is, for messages."""
    return "a directory" if Path(target).is_dir() else "a file"


def open_model(target: str, name: str | None, *, connection: Connection | None = None, pinned: bool = False) -> Model:
    """Open a model by its address and name, or by the directory of its package, or its ONNX file.

    Args:
        target: ``localhost:8500``, ``models/log``, or ``log.onnx``.
        name: the model's name at an address; None for a directory or a file.
        connection: how to reach it; None for the defaults.
        pinned: whether all calls go to the version that a server has now.

    Raises:
        UsageError: an address without a name, or a directory with one or with options of a connection.
    """
    connection = connection or Connection()
    if is_local(target):
        if name is not None:
            raise UsageError(
                f"{target} is {what_is(target)}, which takes no model name, and got {name!r}: leave it out"
            )
        connection.require_unused(target)
        if connection.engine_local in (PackageEngine.NATIVE, PackageEngine.AUTO):
            with quiet_tensorflow():  # which compiled kernels do without
                return connection.load(target)
        if Path(target).is_dir():
            import_heavy("gradwire_serving")  # names the missing extra, and silences TensorFlow
        return connection.load(target)
    connection.require_remote(target)
    if name is None:
        raise UsageError(f"{target} is not a directory; for an address name the model too: {target} NAME")
    model = connection.connect(target, name)
    if not pinned:
        return model
    try:
        chosen = model.pinned()
    except BaseException:
        model.close()
        raise
    if chosen is not model:
        model.close()
    return chosen


def _read_token(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--metadata {text!r}: expected NAME=VALUE")
    return name.strip().lower(), value.strip()
