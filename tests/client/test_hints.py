"""What a caller is told when no gRPC server answers: the cause, and what to do; each tried over sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.gateway import Gateway, listening

import gradwire
import gradwire.aio
from gradwire import TLS, Address, GrpcTransport, Model
from gradwire._grpc.explain import explain
from gradwire._grpc.status import RpcStatus

SOON = 5.0  # seconds; a case takes a fraction of it


def connect(target: str, **kwargs: Any) -> None:
    """Connect, where that fails."""
    gradwire.connect(target, "log", timeout=kwargs.pop("timeout", SOON), **kwargs).close()


def close_at_once(line: socket.socket) -> None:
    """Say nothing."""
    line.recv(1)


def reset(line: socket.socket) -> None:
    """End as a crashed process does."""
    line.recv(1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def http1(line: socket.socket) -> None:
    """Answer as a web server does."""
    line.recv(100)
    line.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def be_mute(line: socket.socket) -> None:
    """Take the connection, and never say a word."""
    while line.recv(1000):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("serve", "tls", "error", "message"),
    [
        (close_at_once, None, gradwire.ServerUnreachable, "no answer from .*is it running"),
        (reset, None, gradwire.ServerUnreachable, "no answer from .*is it running"),
        (http1, None, gradwire.ServerUnreachable, "speaks HTTP, not gRPC .*give Serving's gRPC port"),
        (http1, True, gradwire.ServerUnreachable, "is plain, and TLS is wanted of it: leave tls out"),
        (be_mute, None, gradwire.DeadlineExceeded, "within 0.5 s: nothing was to be computed.*check host and port"),
    ],
)
def test_peers_that_are_no_server(serve: Any, tls: Any, error: type[Exception], message: str):
    """A closed, reset or silent connection, and a web server, are told apart, with and without TLS."""
    with listening(serve) as target, pytest.raises(error, match=message):
        connect(target, tls=tls, timeout=0.5 if serve is be_mute else SOON)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("127.0.0.1:1", "Connection refused.*is it running"),
        ("nowhere.invalid:8500", "no answer from nowhere.invalid:8500 .*check the name"),
        ("unix:/nowhere/tf.sock", "there is no socket /nowhere/tf.sock; is the server running"),
    ],
)
def test_peers_that_never_connected(target: str, message: str):
    """Nothing listens, the name is unknown, the socket is not there; no word of rows or of a timeout."""
    with pytest.raises(gradwire.ServerUnreachable, match=message) as caught:
        connect(target)
    assert "rows" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("Failed to connect to remote host: No route to host", "there is no way to it in this network"),
        ("Failed to connect to remote host: Network is unreachable", "check the address, the VPN and the firewall"),
        ("Failed to connect to remote host: Connection timed out", "packets are lost on the way"),
        (
            "connect failed: No such file or directory",
            "there is no such socket",
        ),  # of a model that was connected before
    ],
)
def test_networks_that_are_not_here(words: str, message: str):
    """What this machine's network cannot show, in gRPC's recorded words."""
    details = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:8500: {words}"
    status = RpcStatus(gradwire._grpc.status.grpc.StatusCode.UNAVAILABLE, details)
    assert message in str(explain(status, Address("10.0.0.1:8500", "log"), 1.0, 1))


# -- TLS


def behind(pki: Path, name: str, *protocols: str, mutual: bool = False) -> Callable[[socket.socket], None]:
    """A server with a certificate, that says nothing after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if mutual:
        context.load_verify_locations(pki / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED

    def serve(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as secured:
            secured.recv(1000)

    return serve


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "protocols", "tls", "message"),
    [
        ("server", ["h2"], None, "expects TLS, and this connection is plain: give tls=True"),
        ("server", [], None, "expects TLS, and this connection is plain"),
        ("server", [], "authority", "speaks HTTP, not gRPC"),
        ("stranger", ["h2"], "authority", "could not be trusted .*--ca-file"),
        ("server", ["h2"], True, "could not be trusted .*--ca-file"),
        (
            "elsewhere",
            ["h2"],
            "authority",
            r"its certificate is for elsewhere.invalid, not for localhost; .*TLS\(server_name=…\), --server-name",
        ),
    ],
)
def test_certificates(pki: Path, server: str, protocols: list[str], tls: Any, message: str):
    """Each fault of TLS is told by its cause, and the names of a certificate that is for another host."""
    files = TLS(root_certificates=pki / "authority.pem") if tls == "authority" else tls
    with listening(behind(pki, server, *protocols)) as target:
        address = target.replace("127.0.0.1", "localhost")
        with pytest.raises(gradwire.ServerUnreachable, match=message):
            connect(address, tls=files)

        async def again() -> None:
            await gradwire.aio.connect(address, "log", tls=files, timeout=SOON)

        with pytest.raises(gradwire.ServerUnreachable, match=message):
            asyncio.run(again())


def test_a_client_without_a_certificate(pki: Path):
    """A server that wants the client's certificate is told from one that is gone."""
    with listening(behind(pki, "server", "h2", mutual=True)) as target:
        files = TLS(root_certificates=pki / "authority.pem")
        with pytest.raises(gradwire.ServerUnreachable, match=r"does not trust this client.*--cert-file and --key-file"):
            connect(target.replace("127.0.0.1", "localhost"), tls=files)


# -- what stands in between


@pytest.mark.slow
@pytest.mark.parametrize(
    ("http", "error", "message"),
    [
        (401, gradwire.ServerError, "HTTP 401: .*--token-file"),
        (403, gradwire.ServerError, "HTTP 403: it does not let this call through"),
        (404, gradwire.ServerError, "HTTP 404: it has no way to a gRPC server"),
        (413, gradwire.ServerError, "HTTP 413: one row is over its limit"),
        (429, gradwire.ServerError, "HTTP 429, tried .* times: send fewer calls at once"),
        (500, gradwire.ServerError, "HTTP 500: no gRPC server did"),
        *(
            (http, gradwire.ServerUnreachable, f"HTTP {http}, tried .* times: it did not reach")
            for http in (502, 503, 504)
        ),
    ],
)
def test_gateways(stand_in: Any, http: int, error: type[Exception], message: str):
    """A gateway's refusal of a one-row call is its own, by its HTTP status, and tried again only where that helps."""
    gateway = Gateway(stand_in, lambda size: http)
    with listening(gateway.serve) as target:
        model = Model(GrpcTransport(Address(target, "log")), timeout=2)
        assert model.signatures
        with model, pytest.raises(error, match=message) as caught:
            model.predict("serving_default", x=np.ones((1, 1)))
    assert "fewer rows" not in str(caught.value)


def test_a_message_that_a_gateway_finds_too_large(stand_in: Any):
    """HTTP 413 is a limit like any other: the rows travel in smaller messages, and the limit is remembered."""
    limit = 2000
    gateway = Gateway(stand_in, lambda size: 413 if size > limit else None)
    x = np.linspace(0.1, 1.9, 600)
    with listening(gateway.serve) as target, Model(GrpcTransport(Address(target, "log"))) as log:
        assert np.array_equal(log.predict("serving_default", x=x[:, None])["f"][:, 0], np.log(x))
        assert max(gateway.sizes) <= limit
        first = len(gateway.sizes)
        log.predict("serving_default", x=x[:, None])
    assert len(gateway.sizes) == 2 * first


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_proxies(monkeypatch: pytest.MonkeyPatch, variable: str):
    """The variable that leads through a proxy is named, its password is not, and this machine is reached past it."""

    def refuse(line: socket.socket) -> None:
        line.recv(1000)
        line.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with listening(refuse) as proxy:
        monkeypatch.setenv(variable, f"http://user:secret@{proxy}")
        began = time.monotonic()
        with pytest.raises(
            gradwire.ServerUnreachable, match=f"{variable} leads .*{proxy}: set no_proxy=10.1.2.3"
        ) as told:
            connect("10.1.2.3:8500")
        assert time.monotonic() - began < SOON
        assert "secret" not in str(told.value)
        with pytest.raises(gradwire.ServerUnreachable) as told:
            connect("127.0.0.1:1")
        assert variable not in str(told.value)
        assert "403" not in str(told.value)


def test_this_machine_is_reached_past_proxies(stand_in: Any, monkeypatch: pytest.MonkeyPatch):
    """A proxy of a company does not know what localhost is here."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for target in (stand_in.target, stand_in.target.replace("127.0.0.1", "localhost"), f"ipv4:{stand_in.target}"):
        connect(target)


# -- timeouts


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "told"), [(1, False), (2, True)])
def test_fewer_rows_are_asked_of_many_only(stand_in: Any, rows: int, told: bool):
    """A call of one row cannot have fewer."""
    stand_in.hook = lambda request, context: time.sleep(0.3)
    with gradwire.connect(stand_in.target, "log", timeout=SOON) as log:
        log.card  # noqa: B018 - asked for while there is time
        slow = Model(log._transport, timeout=0.1)
        assert slow.signatures
        with pytest.raises(gradwire.DeadlineExceeded, match="give a longer timeout") as caught:
            slow.predict("serving_default", x=np.ones((rows, 1)))
    assert ("fewer rows" in str(caught.value)) is told


# -- messages for people


@pytest.mark.slow
def test_errors_come_alone(stand_in: Any):
    """No traceback of gRPC stands above the sentence, by threads, event loop or bridge."""

    async def loop() -> None:
        async with await gradwire.aio.connect(stand_in.target, "log", timeout=SOON) as log:
            await log.predict("serving_default", x=np.ones((1, 1)))

    async def nowhere() -> None:
        await gradwire.aio.connect("127.0.0.1:1", "log")

    def bridge() -> None:
        from gradwire.umbridge import serve

        serve(gradwire.connect(stand_in.target, "nope"))

    def refuse(request: Any, context: Any) -> None:
        context.abort(gradwire._grpc.status.grpc.StatusCode.INTERNAL, "on fire")

    stand_in.hook = refuse
    calls: list[Callable[[], Any]] = [
        lambda: gradwire.connect(stand_in.target, "log").predict("serving_default", x=np.ones((1, 1))),
        lambda: gradwire.connect("127.0.0.1:1", "log"),
        lambda: gradwire.connect(["nowhere.invalid:1"], "log"),
        lambda: asyncio.run(loop()),
        lambda: asyncio.run(nowhere()),
        bridge,
    ]
    for call in calls:
        with pytest.raises(gradwire.GradwireError) as caught:
            call()
        lines = "".join(traceback.format_exception(caught.value)).splitlines()
        assert lines[-1].endswith(str(caught.value))
        assert lines.count("Traceback (most recent call last):") == 1
