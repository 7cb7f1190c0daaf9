"""Where a served model is: a target, a name, a version or a label, and how the connection is secured."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import NoneType
from typing import Final, final

from gradwire._errors import ServerUnreachable, UsageError

# What gRPC resolves by itself.
_SCHEMES: Final = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
_LONGEST_PATH: Final = 107  # bytes: the kernel has 108 for the name of a socket, with a zero at its end
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_MAX_PORT: Final = 65535
_ON_THIS_MACHINE: Final = ("unix:", "unix-abstract:")
_AUTHORIZATION: Final = "authorization"
_METADATA_NAME: Final = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")  # those are gRPC's own, and bytes


@final
@dataclass(frozen=True, slots=True)
class TLS:
    """Files that secure the connection, in PEM.

    Attributes:
        root_certificates: the authorities to trust; None for the system's roots.
        private_key: the client's own key, where the server requires one.
        certificate_chain: the client's own certificate, with the key.
        server_name: the name that the server's certificate must hold, if not the address's, as behind a tunnel.
    """

    root_certificates: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Read the three files, in the order of the attributes.

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
        token: sent as ``authorization: Bearer …`` with each call, over TLS or within this machine; or a function that
            returns it, called for every request. A pickle of the address holds it.
        gzip: whether requests are compressed.
        metadata: names and values sent with each call, such as a gateway asks for.

    Raises:
        UsageError: the target has another form, the name is empty, both version and label are given, metadata cannot
            be sent, or a token would travel over a network in plain text.
    """

    target: str | tuple[str, ...]
    model: str
    version: int | None = None
    label: str | None = None
    tls: TLS | bool | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    gzip: bool = False
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self._require_types()
        for target in (self.target,) if isinstance(self.target, str) else self.target:
            if not _is_host_port(target) and not (target is self.target and target.startswith(_SCHEMES)):
                raise UsageError(
                    f"server {target!r}, expected host:port such as localhost:8500 (no http://), "
                    "dns:///host:port or unix:///path"
                )
        if isinstance(self.target, str) and self.target.startswith(_ON_THIS_MACHINE):
            _check_unix(self.target)
        if not self.target:
            raise UsageError("no server is given, expected host:port such as localhost:8500, or several")
        if not self.model:
            raise UsageError("the model's name is empty, expected its name on the server")
        if self.version is not None and self.label is not None:
            raise UsageError(f"version {self.version} and label {self.label!r} are both given, expected one of them")
        if self.version is not None and self.version < 0:
            raise UsageError(f"version {self.version}, expected a number from 0 on")
        self._require_metadata()
        if self.has_token and not self.tls and not self.is_local:
            raise UsageError(
                f"a token would travel to {self.where} in plain text: give tls as well, such as tls=True, or --tls"
            )

    def _require_metadata(self) -> None:
        """Raise UsageError for metadata that gRPC would not send."""
        for name, value in self.metadata:
            if not _METADATA_NAME.fullmatch(name):
                raise UsageError(
                    f"metadata {name!r}, expected a name of small letters, digits, '-', '_' and '.', not 'grpc-…' nor "
                    "'…-bin'"
                )
            if not _is_sendable(value):
                raise UsageError(f"the value of metadata {name!r} is not printable ASCII: it cannot be sent")

    def _require_types(self) -> None:
        """Raise UsageError for arguments of another type, which would fail far from here."""
        expected: dict[str, tuple[object, tuple[type, ...], str]] = {
            "model": (self.model, (str,), "the model's name"),
            "version": (self.version, (int, NoneType), "a number, or None"),
            "label": (self.label, (str, NoneType), "a label, or None"),
            "tls": (self.tls, (TLS, bool, NoneType), "None, True, or gradwire.TLS(…) with files"),
            "gzip": (self.gzip, (bool,), "True or False"),
            "token": (self.token, (str, NoneType), "text, or a function that returns it"),
            "server_name": (getattr(self.tls, "server_name", None), (str, NoneType), "a name, or None"),
        }
        for name, (value, kinds, what) in expected.items():
            is_number = name == "version" and isinstance(value, bool)
            if is_number or not (isinstance(value, kinds) or (name == "token" and callable(value))):
                raise UsageError(f"{name}={value!r}, expected {what}")

    @property
    def where(self) -> str:
        """The target, for people."""
        return self.target if isinstance(self.target, str) else ", ".join(self.target)

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port, of several servers the first one's; port 0 where there is none, as of a Unix socket."""
        first = self.target if isinstance(self.target, str) else self.target[0]
        host, _, port = first.rpartition("/")[2].removeprefix("dns:").rpartition(":")
        return host.strip("[]"), int(port) if port.isdecimal() else 0

    @property
    def is_balanced(self) -> bool:
        """Whether several servers may answer, and take turns."""
        return not isinstance(self.target, str) or self.target.startswith("dns:///")

    @property
    def is_local(self) -> bool:
        """Whether all servers are on this machine, so that calls travel on no network and past every proxy."""
        return all(map(_is_local, (self.target,) if isinstance(self.target, str) else self.target))

    @property
    def has_token(self) -> bool:
        """Whether a secret travels with each call."""
        return self.token is not None or any(name == _AUTHORIZATION for name, _ in self.metadata)

    @property
    def authority(self) -> str:
        """The name that certificates must hold, where it is not the target's: of several servers the first one's."""
        if isinstance(self.tls, TLS) and self.tls.server_name:
            return self.tls.server_name
        return "" if isinstance(self.target, str) else self.target[0].rpartition(":")[0].strip("[]")

    def bearer(self) -> tuple[tuple[str, str], ...]:
        """Return the token as metadata; empty without one.

        Raises:
            UsageError: the function that returns it raised, or it cannot be sent.
        """
        if self.token is None:
            return ()
        try:
            token = self.token if isinstance(self.token, str) else self.token()
        except Exception as error:
            raise UsageError(f"the token could not be read ({error}): see where it comes from") from error
        if not token or not _is_sendable(token):
            raise UsageError("the token is empty or not printable ASCII, expected the text of one")
        return ((_AUTHORIZATION, f"Bearer {token}"),)

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
    """Return one server, or several, in the form that ``Address`` has.

    Raises:
        UsageError: it is no text, nor texts.
    """
    if isinstance(target, str):
        return target
    several: tuple[object, ...] = tuple(target) if isinstance(target, (list, tuple)) else (target,)
    names = tuple(each for each in several if isinstance(each, str))
    if len(names) < len(several):
        raise UsageError(f"server {target!r}, expected host:port such as 'localhost:8500', or a list of them")
    return names


def as_metadata(metadata: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Return metadata in the form that ``Address`` has.

    Raises:
        UsageError: it is no mapping of text to text.
    """
    if metadata is None:
        return ()
    if not isinstance(metadata, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may give anything
        raise UsageError(f"metadata={metadata!r}, expected a mapping of names to values, or None")
    pairs = tuple(metadata.items())
    texts = (isinstance(part, str) for pair in pairs for part in pair)  # pyright: ignore[reportUnnecessaryIsInstance] - as above
    if not all(texts):
        raise UsageError(f"metadata has {sorted(map(str, metadata))}, expected names and values as text")
    return pairs


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def _is_local(target: str) -> bool:
    if target.startswith(_ON_THIS_MACHINE):
        return True
    servers = target.rpartition("/")[2].removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").split(",")
    return all(_is_loopback(server.rpartition(":")[0].strip("[]")) for server in servers)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
        raise ServerUnreachable(f"no server {target} ({error}): check the name") from None
    family, number = min((int(entry[0]), str(entry[4][0])) for entry in entries)  # IPv4, where there is one
    return family, f"[{number}]:{port}" if family == socket.AF_INET6 else f"{number}:{port}"
