"""Addresses that front ends listen on."""

from __future__ import annotations

import errno
import socket

from gradwire._errors import UsageError


def address_text(host: str, port: int) -> str:
    """Return a host and a port as clients write them; an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int, flag: str) -> socket.socket:
    """Return a socket that is bound to an address, which no other process can share.

    Args:
        host: a name or address of this machine.
        port: a TCP port; 0 for any free one.
        flag: the option that set the port, for the error.

    Raises:
        UsageError: the port is in use, or the host is not this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise UsageError(
            f"cannot listen on {address_text(host, port)}: {reason}; choose another {flag} or --host"
        ) from error
    return bound
