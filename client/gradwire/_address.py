"""Where a served model is: a target, a name, a version or a label, and how the line is secured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from gradwire._errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

# What gRPC resolves by itself.
_SCHEMES: Final = ("dns:", "unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_MAX_PORT: Final = 65535


@final
@dataclass(frozen=True, slots=True)
class TLS:
    """Files that secure the line, in PEM.

    Attributes:
        root_certificates: whom to trust; None for the system's roots.
        private_key: the client's own key, where the server asks for one.
        certificate_chain: the client's own certificate, with the key.
    """

    root_certificates: Path | None = None
    private_key: Path | None = None
    certificate_chain: Path | None = None

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Reads the files, in the order of the attributes.

        Raises:
            UsageError: a file cannot be read, or only one of key and chain is given.
        """
        if (self.private_key is None) != (self.certificate_chain is None):
            raise UsageError("TLS has one of private_key and certificate_chain, expected both or neither")
        return _read(self.root_certificates), _read(self.private_key), _read(self.certificate_chain)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"TLS file {path}: {error.strerror}; expected a readable file in PEM") from error


@final
@dataclass(frozen=True, slots=True)
class Address:
    """A model on a server.

    Attributes:
        target: ``"host:port"``, ``"[::1]:port"``, ``"dns:///host:port"`` or ``"unix:path"``.
        model: its name on the server.
        version: its number; None for the newest.
        label: the version's label, instead of its number.
        tls: None for a plain line, True for the system's roots, or files.

    Raises:
        UsageError: the target has another form, the name is empty, or both version and label are given.
    """

    target: str
    model: str
    version: int | None = None
    label: str | None = None
    tls: TLS | bool | None = None

    def __post_init__(self) -> None:
        match = _HOST_PORT.fullmatch(self.target)
        if not self.target.startswith(_SCHEMES) and not (match and 0 < int(match[2]) <= _MAX_PORT):
            raise UsageError(
                f"server {self.target!r}, expected host:port such as localhost:8500 (no http://), "
                "dns:///host:port or unix:path"
            )
        if not self.model:
            raise UsageError("the model's name is empty, expected its name on the server")
        if self.version is not None and self.label is not None:
            raise UsageError(
                f"version {self.version} and label {self.label!r} are both given, expected one of them"
            )
        if self.version is not None and self.version < 0:
            raise UsageError(f"version {self.version}, expected a number from 0 on")

    def __str__(self) -> str:
        chosen = f" version {self.version}" if self.version is not None else ""
        labelled = f" label {self.label!r}" if self.label is not None else ""
        return f"{self.model}{chosen}{labelled} at {self.target}"
