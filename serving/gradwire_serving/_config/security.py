"""Who may call: the certificates of ``--ssl_config_file``, and the token that every call has to bring."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from gradwire._errors import UsageError
from gradwire_serving._config.messages import read_message
from gradwire_serving._config.options import TOKEN_VARIABLE, ServerOptions
from gradwire_serving._core import Code, StatusError

SCHEME: Final = "bearer"  # of the header `authorization` (RFC 6750)
REFUSED: Final = "the call has no token, or another than the server's: send it as 'authorization: Bearer …'"


@final
@dataclass(frozen=True, slots=True)
class Certificates:
    """An ``SSLConfig``; everything in PEM.

    Attributes:
        key: the server's private key.
        certificate: its certificate, with those between it and the authority.
        authority: the certificates of the authorities of clients; None for the system's.
        client_verify: whether a client has to have a certificate of theirs.
    """

    key: bytes = field(repr=False)
    certificate: bytes
    authority: bytes | None
    client_verify: bool


def certificates_of(options: ServerOptions) -> Certificates | None:
    """Return what ``--ssl_config_file`` holds; None without one.

    Raises:
        UsageError: the file cannot be read, or lacks something.
    """
    file = options.ssl_config_file
    if not file:
        return None
    config = read_message(file, "SSLConfig", "docs/operations.md")
    for name in ("server_key", "server_cert", *(("custom_ca",) if config.client_verify else ())):
        if not getattr(config, name):
            raise UsageError(f"{file} has no {name}, expected its text in PEM; see docs/operations.md")
    return Certificates(
        config.server_key.encode(),
        config.server_cert.encode(),
        config.custom_ca.encode() or None,
        config.client_verify,
    )


@final
class BearerToken:
    """A token that a call has to bring as ``authorization: Bearer …``."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def check(self, authorization: str | None) -> None:
        """Raise UNAUTHENTICATED unless the header has the token; in the same time, however much of it is right."""
        scheme, _, token = (authorization or "").partition(" ")
        sent = token.strip().encode(errors="surrogateescape")
        if not hmac.compare_digest(sent, self._token) or scheme.lower() != SCHEME:
            raise StatusError(Code.UNAUTHENTICATED, REFUSED)


def token_of(options: ServerOptions) -> BearerToken | None:
    """Return the token that calls have to bring; None for none.

    Raises:
        UsageError: its file cannot be read or holds none, or it would travel over a network in plain text.
    """
    if options.token and options.token_file:
        raise UsageError(f"--token_file and {TOKEN_VARIABLE} are both given, expected one of them")
    source = f"--token_file {options.token_file}" if options.token_file else TOKEN_VARIABLE
    try:
        token = Path(options.token_file).read_text(encoding="utf-8").strip() if options.token_file else options.token
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {error}; expected a file that holds a token") from error
    if not options.token_file and not token:
        return None
    if not token or not all("!" <= character <= "~" for character in token):
        raise UsageError(f"{source} has no token, expected printable ASCII without blanks")
    if not _is_loopback(options.host):
        if not options.ssl_config_file:
            raise UsageError(
                f"a token would travel to {options.host} in plain text: give --ssl_config_file too, or --host 127.0.0.1"
            )
        if options.rest_api_port:
            raise UsageError(
                f"a token would travel to {options.host} in plain text: REST has no TLS; leave out --rest_api_port, or "
                "give --host 127.0.0.1 and a proxy"
            )
    return BearerToken(token)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
