"""What listens at an address: asked once a call has failed, for gRPC says only that the connection was closed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from gradwire._wire import TLS, Address

if TYPE_CHECKING:
    import ssl

# Each step of a probe. It holds up a call that has failed already, an event loop included, and so is short: gRPC has
# just reached the same address.
_SECONDS: Final = 0.5


def speaks_tls(address: Address) -> bool:
    """Return whether the server answers a TLS handshake; its certificate is not looked at, and nothing is sent."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with _connect(address) as plain, context.wrap_socket(plain, server_hostname=_host(address)):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it refused this client, in the words of TLS
    except (OSError, ValueError):
        return False


def certificate_names(address: Address) -> list[str]:
    """Return the names in the server's certificate; none where it has another fault, or has none."""
    try:
        with _connect(address) as plain, _trusting(address).wrap_socket(plain, server_hostname=_host(address)) as line:
            certificate: dict[str, Any] = line.getpeercert() or {}
    except (OSError, ValueError):
        return []
    return [str(name) for _, name in certificate.get("subjectAltName", ())]


def wants_certificate(address: Address) -> bool:
    """Return whether the server ends the connection once it knows this client's certificate, or that there is none."""
    try:
        with _connect(address) as plain, _trusting(address).wrap_socket(plain, server_hostname=_host(address)) as line:
            return _is_ended(line)
    except (OSError, ValueError):
        return False


def _is_ended(line: ssl.SSLSocket) -> bool:
    """Whether the server refuses after the handshake, as in TLS 1.3; one that trusts the client speaks, or waits."""
    try:
        return not line.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def _trusting(address: Address) -> ssl.SSLContext:
    """A context that trusts what the address trusts, whatever names the certificate has."""
    import ssl

    roots = address.tls.root_certificates if isinstance(address.tls, TLS) else None
    context = ssl.create_default_context(cafile=roots)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if isinstance(address.tls, TLS) and address.tls.certificate_chain and address.tls.private_key:
        context.load_cert_chain(address.tls.certificate_chain, address.tls.private_key)
    return context


def _connect(address: Address) -> socket.socket:
    return socket.create_connection(address.endpoint, _SECONDS)


def _host(address: Address) -> str:
    return address.authority or address.endpoint[0]
