"""Where a served model is: a target, a name, a version or a label, and how the connection is secured."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Final, final

from gradwire._errors import ServerUnreachable, UsageError

# What gRPC resolves by itself.
_SCHEMES: Final = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
_UNIX: Final = ("unix:", "unix-abstract:")
_LONGEST_PATH: Final = 107  # bytes: the kernel has 108 for the name of a socket, with a zero at its end
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_MAX_PORT: Final = 65535


@final
@dataclass(frozen=True, slots=True)
class TLS:
    """Files that secure the connection, in PEM.

    Attributes:
        root_certificates: the authorities to trust; None for the system's roots.
        private_key: the client's own key, where the server requires one.
        certificate_chain: the client's own certificate, with the key.
    """

    root_certificates: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Read the files, in the order of the attributes.

        Raises:
            UsageError: a file cannot be read, or only one of key and chain is there.
        """
        if (self.private_key is None) != (self.certificate_chain is None):
            raise UsageError("TLS has one of private_key and certificate_chain, expected both or neither")
        return _read(self.root_certificates), _read(self.private_key), _read(self.certificate_chain)


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except TypeError as error:
        raise UsageError(f"TLS file {path!r}, expected a path as text or Path") from error
    except OSError as error:
        raise UsageError(f"TLS file {path}: {error.strerror}; expected a readable file in PEM") from error


@final
@dataclass(frozen=True, slots=True)
class Address:
    """A model on a server, or on several that serve the same.

    Attributes:
        target: ``"host:port"``, ``"[::1]:port"``, ``"dns:///host:port"``, ``"unix:///path"``, ``"unix:path"``,
            ``"unix-abstract:name"``, or a tuple of ``"host:port"``. The servers of a tuple, and those behind a name
            after ``dns:///``, take turns.
        model: its name on the server.
        version: its number; None for the newest.
        label: the version's label, instead of its number.
        tls: None for an unencrypted connection, True for the system's roots, or files.
        token: sent as ``authorization: Bearer …`` with each call, over TLS or a unix socket alone; or a function that
            returns it, called for every request. A pickle of the address holds it.
        gzip: whether requests are compressed.

    Raises:
        UsageError: the target has another form, the name is empty, both version and label are given, or a token
            would travel in plain text.
    """

    target: str | tuple[str, ...]
    model: str
    version: int | None = None
    label: str | None = None
    tls: TLS | bool | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    gzip: bool = False

    def __post_init__(self) -> None:
        self._require_types()
        for target in (self.target,) if isinstance(self.target, str) else self.target:
            if not _is_host_port(target) and not (target is self.target and target.startswith(_SCHEMES)):
                raise UsageError(
                    f"server {target!r}, expected host:port such as localhost:8500 (no http://), "
                    "dns:///host:port or unix:///path"
                )
        if isinstance(self.target, str) and self.is_unix:
            _check_unix(self.target)
        if not self.target:
            raise UsageError("no server is given, expected host:port such as localhost:8500, or several")
        if not self.model:
            raise UsageError("the model's name is empty, expected its name on the server")
        if self.version is not None and self.label is not None:
            raise UsageError(f"version {self.version} and label {self.label!r} are both given, expected one of them")
        if self.version is not None and self.version < 0:
            raise UsageError(f"version {self.version}, expected a number from 0 on")
        if self.token is not None and not self.tls and not self.is_unix:
            raise UsageError("a token would travel in plain text: give tls as well, such as tls=True")

    def _require_types(self) -> None:
        """Raise UsageError for arguments of another type, which would fail far from here."""
        expected: dict[str, tuple[object, tuple[type, ...], str]] = {
            "model": (self.model, (str,), "the model's name"),
            "version": (self.version, (int, NoneType), "a number, or None"),
            "label": (self.label, (str, NoneType), "a label, or None"),
            "tls": (self.tls, (TLS, bool, NoneType), "None, True, or gradwire.TLS(…) with files"),
            "token": (self.token, (str, NoneType), "text, or a function that returns it"),
        }
        for name, (value, kinds, what) in expected.items():
            if not isinstance(value, kinds) and not (name == "token" and callable(value)):
                raise UsageError(f"{name}={value!r}, expected {what}")

    @property
    def where(self) -> str:
        """The target, for people."""
        return self.target if isinstance(self.target, str) else ", ".join(self.target)

    @property
    def is_unix(self) -> bool:
        """Whether it is a socket of this machine, which no network and no proxy is between."""
        return isinstance(self.target, str) and self.target.startswith(_UNIX)

    @property
    def is_balanced(self) -> bool:
        """Whether several servers may answer, and take turns."""
        return not isinstance(self.target, str) or self.target.startswith("dns:///")

    @property
    def authority(self) -> str:
        """The name that the certificates of several servers must hold, which is the first one's; else empty."""
        return "" if isinstance(self.target, str) else self.target[0].rpartition(":")[0].strip("[]")

    def resolve(self) -> str:
        """Return the target in gRPC's form; names in a tuple are looked up now, for gRPC takes numbers there.

        Raises:
            ServerUnreachable: a name is not known, or there is no unix socket that may be used.
            UsageError: a tuple has addresses of both families, which gRPC does not mix.
        """
        if isinstance(self.target, str):
            if self.target.startswith("unix:"):
                _require_socket(_socket_path(self.target))
            return self.target
        endpoints = [_look_up(target) for target in self.target]
        families = {family for family, _ in endpoints}
        if len(families) > 1:
            raise UsageError(f"servers {self.where} are of IPv4 and IPv6, expected one of them for all")
        scheme = "ipv6" if families == {socket.AF_INET6} else "ipv4"
        return f"{scheme}:{','.join(target for _, target in endpoints)}"

    def __str__(self) -> str:
        version = f" version {self.version}" if self.version is not None else ""
        label = f" label {self.label!r}" if self.label is not None else ""
        return f"{self.model}{version}{label} at {self.where}"


def as_target(target: str | Sequence[str]) -> str | tuple[str, ...]:
    """Return one server, or several, in the form that ``Address`` has."""
    return target if isinstance(target, str) else tuple(target)


def _is_host_port(target: str) -> bool:
    match = _HOST_PORT.fullmatch(target)
    return match is not None and 0 < int(match[2]) <= _MAX_PORT


def _socket_path(target: str) -> str:
    return target.removeprefix("unix:").removeprefix("//")


def _check_unix(target: str) -> None:
    """Raise UsageError for a unix socket whose name cannot be."""
    name = target.partition(":")[2]
    if target.startswith("unix://") and not target.startswith("unix:///"):
        raise UsageError(
            f"server {target!r}, expected a third slash, unix:///{name[2:]}, or unix:path for a relative one"
        )
    if not name.strip("/"):
        raise UsageError(f"server {target!r}, expected a path, such as unix:///run/tf.sock")
    size = len(os.fsencode(_socket_path(target) if target.startswith("unix:") else name))
    if size > _LONGEST_PATH:
        raise UsageError(f"server {target!r} has a name of {size} bytes, expected at most {_LONGEST_PATH}: shorten it")


def _require_socket(path: str) -> None:
    """Raise ServerUnreachable where a path leads to no socket that may be used, with a line for each reason."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        start = f"gradwire serve models --grpc_socket_path {path}"
        raise ServerUnreachable(f"there is no socket {path}; is the server running? {start}") from None
    except OSError as error:
        raise ServerUnreachable(f"cannot reach the socket {path} ({error.strerror}): check the path") from None
    if not stat.S_ISSOCK(mode):
        kind = "directory" if stat.S_ISDIR(mode) else "file"
        raise ServerUnreachable(f"{path} is a {kind}, expected the socket of a server: check the path")
    if not os.access(path, os.W_OK):
        raise ServerUnreachable(
            f"no permission to use the socket {path} ({stat.filemode(mode)}): run as its owner or group, or have the "
            "server make it writable for you"
        )


def _look_up(target: str) -> tuple[int, str]:
    host, _, port = target.rpartition(":")
    try:
        entries = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerUnreachable(f"no server {target} ({error}): check the name") from error
    family, number = min((int(entry[0]), str(entry[4][0])) for entry in entries)  # IPv4, where there is one
    return family, f"[{number}]:{port}" if family == socket.AF_INET6 else f"{number}:{port}"
