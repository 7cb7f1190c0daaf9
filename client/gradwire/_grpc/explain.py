"""What the caller is told of an RPC that failed for good: the cause, as far as it is known, and what to do."""

from __future__ import annotations

import os
import re
from typing import Final

import grpc

from gradwire._errors import (
    DeadlineExceeded,
    GradwireError,
    ModelNotFound,
    ServerError,
    ServerUnreachable,
    SignatureNotFound,
    UsageError,
)
from gradwire._grpc.probe import certificate_names, speaks_tls, wants_certificate
from gradwire._grpc.status import NO_TOKEN, NOT_GRPC, NOT_TLS, OTHER_NAME, TOO_LARGE, UNTRUSTED, RpcStatus
from gradwire._wire import Address

METADATA: Final = 0  # rows of a request that computes nothing

_UNKNOWN_LABEL: Final = "Unrecognized servable version label"
_UNKNOWN_SIGNATURE: Final = "Serving signature key"

_HINTS: Final = {
    "Server Threadpool Exhausted": "raise --grpc_max_threads of the server, or send fewer calls at once",
    "batch scheduling queue": (
        "raise max_enqueued_batches of the server's batching parameters, or send fewer calls at once"
    ),
    "larger than maximum input batch size": "raise max_batch_size of the server",
    "larger than max": "one row is over the limit of the server or of a proxy on the way: raise it there",
    "XLA compilation disabled": "start the server with --xla_cpu_compilation_enabled=true",
    "Expects arg": "a version with other dtypes may have come: connect again",
    "to be in the set": "a version with other outputs may have come: connect again",
    "from different tasks have different shapes": (
        "another caller's rows of another shape were batched with these: try again"
    ),
}
_HTTP_HINTS: Final = {
    401: "it wants to know who calls: give a token (token=…, --token-file) or metadata",
    403: "it does not let this call through: ask who runs it, or give a token (token=…, --token-file)",
    404: "it has no way to a gRPC server: check the address, and its rules for paths and hosts",
    TOO_LARGE: "one row is over its limit: raise it there",
    429: "send fewer calls at once, or raise its limit",
}
_HTTP_GONE: Final = (502, 503, 504)  # the gateway is there, and its server is not

_CLOSED: Final = ("closed", "Connection reset", "EOF", "Unwrap failed")  # before a word of HTTP/2
_NEVER_CONNECTED: Final = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
_CAUSES: Final = {
    "Domain name not found": "the name is not known here: check the name",
    "DNS resolution failed": "the name could not be looked up: check the name",
    "errors resolving": "the name could not be looked up: check the name",
    "No route to host": "there is no way to it in this network: check the address, the VPN and the firewall",
    "Network is unreachable": "there is no way to it in this network: check the address, the VPN and the firewall",
    "timed out": "packets are lost on the way: check the address and the firewall",
    "No such file or directory": "there is no such socket: check the path, and that the server has made it",
}
# As gRPC's core reads them, in this order, in small letters only.
_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_NO_PROXIES: Final = ("no_grpc_proxy", "no_proxy")
_SECRET: Final = re.compile(r"//[^/@]*@")


def explain(status: RpcStatus, address: Address, timeout: float, rows: int | None, tries: int = 1) -> GradwireError:
    """Return the error to raise.

    Args:
        status: how it ended.
        address: where the call went.
        timeout: seconds that the caller allowed.
        rows: of the call; None where it has none, ``METADATA`` for a request that computes nothing.
        tries: how often the call was made.
    """
    code, details = status
    if NO_TOKEN in details:
        return UsageError(f"{address}: {details}: no token, so nothing was sent")
    if (http := status.http_status) is not None:
        return _stopped_between(status, http, address, tries)
    if code is grpc.StatusCode.UNAVAILABLE and not status.is_overload:
        return _unreachable(address, details, tries)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"no answer of {address} within {timeout:g} s: {_more_time(address, rows)}")
    return _refused(status, address, tries)


def _refused(status: RpcStatus, address: Address, tries: int) -> GradwireError:
    """The error where the server itself refused or failed."""
    code, details = status
    if code is grpc.StatusCode.NOT_FOUND or _UNKNOWN_LABEL in details:
        gone = "" if address.version is None else "a newer version may have replaced it; "
        return ModelNotFound(
            f"{address}: {details}; {gone}check the name, version and label: `gradwire serve` prints those it serves"
        )
    if code is grpc.StatusCode.FAILED_PRECONDITION and _UNKNOWN_SIGNATURE in details:
        return SignatureNotFound(f"{address}: {details} A new version may have come: connect again")
    hint = next((f"; {hint}" for text, hint in _HINTS.items() if text in details), "")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        hint = "; expected TensorFlow Serving's gRPC services there"
    if code is grpc.StatusCode.UNAUTHENTICATED:
        hint = "; give a token (token=…, --token-file)"
    return ServerError(f"{address}: {code.name}: {details}{_times(tries)}{hint}", code=code.name)


def _more_time(address: Address, rows: int | None) -> str:
    """What to do where the time was up."""
    if rows == METADATA:
        through = f"; {proxy}" if (proxy := _proxy(address)) else ""
        return (
            "nothing was to be computed, so either no gRPC server listens there, or a firewall drops the packets, or the "
            f"server is very busy: check host and port, or give a longer timeout{through}"
        )
    return "give a longer timeout, or fewer rows at once" if rows is not None and rows > 1 else "give a longer timeout"


def _stopped_between(status: RpcStatus, http: int, address: Address, tries: int) -> GradwireError:
    """The error where a proxy or gateway responded, and no gRPC server."""
    what = f"{address}: a proxy or gateway on the way responded with HTTP {http}{_times(tries)}"
    if http in _HTTP_GONE:
        return ServerUnreachable(f"{what}: it did not reach the server behind it; is that running?")
    return ServerError(
        f"{what}: {_HTTP_HINTS.get(http, 'no gRPC server did: check the address')}", code=status.code.name
    )


def _unreachable(address: Address, details: str, tries: int) -> ServerUnreachable:
    where = address.where
    if reason := (_not_trusted if address.tls else _not_plain)(address, details):
        return ServerUnreachable(reason)
    if any(words in details for words in NOT_GRPC):
        return ServerUnreachable(
            f"{where} speaks HTTP, not gRPC ({details}): give Serving's gRPC port, 8500 by default (8501 is REST)"
        )
    never = any(words in details for words in _NEVER_CONNECTED)
    if never and (proxy := _proxy(address)):
        return ServerUnreachable(f"no answer from {where} ({details}{_times(tries)}): {proxy}")
    if never and (cause := next((cause for words, cause in _CAUSES.items() if words in details), "")):
        return ServerUnreachable(f"no answer from {where} ({details}{_times(tries)}): {cause}")
    port = where.rpartition(":")[2]
    command = f"gradwire serve models --port {port}" if port.isdecimal() else "gradwire serve models"
    return ServerUnreachable(f"no answer from {where} ({details}{_times(tries)}); is it running? {command}")


def _not_plain(address: Address, details: str) -> str:
    """Why a plain connection failed, where that is because the server expects an encrypted one."""
    if not any(words in details for words in (*_CLOSED, *NOT_GRPC)) or not speaks_tls(address):
        return ""
    return (
        f"{address.where} expects TLS, and this connection is plain: give tls=True, or tls=gradwire.TLS(root_certificates=…) "
        "for an authority of your own; --tls or --ca-file on the command line"
    )


def _not_trusted(address: Address, details: str) -> str:
    """Why an encrypted connection failed, where that is about TLS."""
    where = address.where
    if NOT_TLS in details:
        return (
            f"{where} is plain, and TLS is wanted of it: leave tls out (--tls, --ca-file), or give its encrypted port"
        )
    if any(words in details for words in OTHER_NAME):
        host = address.authority or address.endpoint[0]
        names = ", ".join(certificate_names(address)) or "another name"
        return (
            f"{where} could not be trusted: its certificate is for {names}, not for {host}; connect by a name that it has, "
            "or give that with tls=gradwire.TLS(server_name=…), --server-name on the command line"
        )
    if UNTRUSTED in details:
        return (
            f"{where} could not be trusted ({details}): check the files of tls; an authority of your own is given with "
            "tls=gradwire.TLS(root_certificates=…), --ca-file on the command line"
        )
    if any(words in details for words in _CLOSED) and wants_certificate(address):
        return (
            f"{where} does not trust this client ({details}): it wants a certificate that it knows, "
            "tls=gradwire.TLS(certificate_chain=…, private_key=…), --cert-file and --key-file on the command line"
        )
    return ""


def _proxy(address: Address) -> str:
    """What to do about a proxy through which the connection goes; empty where it goes through none."""
    if address.is_local:
        return ""
    host, _ = address.endpoint
    variable = next((name for name in _PROXIES if os.environ.get(name)), "")
    passed = next((os.environ[name] for name in _NO_PROXIES if os.environ.get(name)), "")
    if not variable or any(host.endswith(entry.strip()) for entry in passed.split(",") if entry.strip()):
        return ""
    proxy = _SECRET.sub("//", os.environ[variable])
    return f"the variable {variable} leads the connection through {proxy}: set no_proxy={host} to go past it"


def _times(tries: int) -> str:
    return f", tried {tries} times" if tries > 1 else ""
