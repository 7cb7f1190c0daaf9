"""Lines to servers: secured, with a token, packed, and to several servers at once."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
import gradwire.aio
from gradwire import TLS, Address

X = np.linspace(0.1, 1.9, 5000)


def ask(target: Any, **kwargs: Any) -> None:
    """Asks for values by the synchronous and by the asynchronous client."""
    with gradwire.connect(target, "log", **kwargs) as log:
        assert np.array_equal(log.value(X), np.log(X))
        with pickle.loads(pickle.dumps(log)) as again:
            assert again.value(1.0) == 0

    async def go() -> None:
        async with await gradwire.aio.connect(target, "log", **kwargs) as log:
            assert np.array_equal(await log.value(X), np.log(X))

    asyncio.run(go())


def test_tls(secured: Callable[..., Any], pki: Path):
    """A line is secured with files."""
    ask(secured().target, tls=TLS(root_certificates=pki / "authority.pem"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "tls"),
    [
        ("server", True),  # the system's roots do not know the authority
        ("stranger", "authority"),  # nobody has signed this one
        ("elsewhere", "authority"),  # the certificate of another host
    ],
)
def test_a_wrong_certificate(secured: Callable[..., Any], pki: Path, server: str, tls: Any):
    """A server that cannot be trusted is refused at once, with what to look at; nothing is sent to it."""
    target = secured(server)
    files = TLS(root_certificates=pki / "authority.pem") if tls == "authority" else tls
    with pytest.raises(gradwire.ServerUnreachable, match=r"could not be trusted"):
        gradwire.connect(target.target, "log", tls=files, timeout=30.0)
    assert target.requests == []


def test_a_plain_client_of_a_secured_server(secured: Callable[..., Any]):
    """Plain text to a server that wants TLS is an error, not a hang."""
    with pytest.raises(gradwire.ServerUnreachable, match="expects TLS"):
        gradwire.connect(secured().target, "log", timeout=30.0)


def test_mutual_tls(secured: Callable[..., Any], pki: Path):
    """A server that asks for the client's certificate gets it, and refuses who has none."""
    server = secured(mutual=True)
    files = TLS(pki / "authority.pem", pki / "client.key", pki / "client.pem")
    ask(server.target, tls=files)
    with pytest.raises(gradwire.ServerUnreachable, match="does not trust this client"):
        gradwire.connect(server.target, "log", tls=TLS(pki / "authority.pem"), timeout=30.0)


def test_a_certificate_of_another_name(secured: Callable[..., Any], pki: Path):
    """A server behind a tunnel is reached by the name that its certificate has."""
    ask(secured("elsewhere").target, tls=TLS(pki / "authority.pem", server_name="elsewhere.invalid"))


def token_of(context: grpc.ServicerContext) -> str:
    """What came as the token."""
    return dict(context.invocation_metadata()).get("authorization", "")


@pytest.mark.parametrize("give", [lambda: "secret", None])
def test_a_token(secured: Callable[..., Any], pki: Path, give: Any):
    """A token goes with every call over TLS, as text or from a function that is asked each time."""
    server, seen = secured(), []
    server.hook = lambda request, context: seen.append(token_of(context))
    tls = TLS(root_certificates=pki / "authority.pem")
    with gradwire.connect(server.target, "log", tls=tls, token=give or "secret") as log:
        assert np.array_equal(log.value(X), np.log(X))
        assert "secret" not in repr(log)
    assert set(seen) == {"Bearer secret"}


def test_a_token_that_cannot_be_had(secured: Callable[..., Any], pki: Path):
    """A function for the token that fails ends the call with its error, at once."""

    def give() -> str:
        raise OSError("no token today")

    with pytest.raises(gradwire.GradwireError, match="no token today"):
        gradwire.connect(secured().target, "log", tls=TLS(root_certificates=pki / "authority.pem"), token=give)


def test_no_token_in_plain_text(stand_in: Any):
    """A token without TLS is refused before anything is sent, but for servers on this machine."""
    for tls in (None, False):
        for target in ("10.0.0.1:8500", "dns:///models.example:8500", (stand_in.target, "10.0.0.1:8500")):
            with pytest.raises(gradwire.UsageError, match=r"a token would travel to .* in plain text: give tls"):
                gradwire.connect(target, "log", token="secret", tls=tls)
        ask(stand_in.target, token="secret", tls=tls)
    for target in ("localhost:1", "dns:///localhost:1", "ipv4:127.0.0.1:1", "[::1]:1", "unix:/run/tf.sock"):
        assert Address(target, "log", token="secret").is_local
    assert "secret" not in repr(Address("a:1", "log", tls=True, token="secret"))


@pytest.mark.parametrize("gzip", [False, True])
def test_gzip(stand_in: Any, gzip: bool):
    """Requests are packed where that is asked for: a hundred thousand ones are a few bytes then."""
    host, _, port = stand_in.target.rpartition(":")
    sent = 0

    def relay(source: socket.socket, sink: socket.socket, *, count: bool) -> None:
        nonlocal sent
        while data := source.recv(65536):
            sent += count * len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(gradwire.connect, target, "log", gzip=gzip)
            client, _ = listener.accept()
            with client, socket.create_connection((host, int(port))) as server, ThreadPoolExecutor(2) as both:
                both.submit(relay, client, server, count=True)
                both.submit(relay, server, client, count=False)
                with made.result() as log:
                    assert np.array_equal(log.value(np.ones(100_000)), np.zeros(100_000))
    assert (sent < 20_000) is gzip
    assert gzip or sent > 800_000


# -- several servers


@pytest.fixture
def replicas(make_stand_in: Any) -> Iterator[list[Any]]:
    """Three servers of the same models."""
    servers = [make_stand_in() for _ in range(3)]
    running = [server.start() for server in servers]
    yield servers
    for one in running:
        one.stop(None).wait()


def all_are_asked(replicas: list[Any], *, least: int) -> bool:
    """Whether every server has had so many requests."""
    return min(len(server.requests) for server in replicas) >= least


ROUNDS = 200  # the first calls go to whichever server the client has reached by then; the others soon follow


@pytest.mark.parametrize("form", [list, tuple])
def test_servers_take_turns(replicas: list[Any], form: Any):
    """Calls go to every one of several addresses."""
    with gradwire.connect(form(server.target for server in replicas), "log") as log:
        for x in range(1, 30 * ROUNDS):
            assert log.value(float(x)) == np.log(x)
            if all_are_asked(replicas, least=3):
                break
    assert all_are_asked(replicas, least=3)


def test_servers_by_name_take_turns(replicas: list[Any]):
    """Names are looked up; the asynchronous client does the same."""
    targets = [server.target.replace("127.0.0.1", "localhost") for server in replicas]

    async def go() -> None:
        async with await gradwire.aio.connect(targets, "log") as log:
            for _ in range(ROUNDS):
                found = await asyncio.gather(*[log.value(float(x)) for x in range(1, 30)])
                assert np.array_equal(found, np.log(np.arange(1.0, 30.0)))
                if all_are_asked(replicas, least=3):
                    break

    asyncio.run(go())
    assert all_are_asked(replicas, least=3)


def test_one_of_several_servers_goes_away(replicas: list[Any], make_stand_in: Any):
    """The others answer in its place, and no call is lost."""
    dying = make_stand_in()
    running = dying.start()
    with gradwire.connect([dying.target, replicas[0].target], "log") as log:
        for x in range(1, 60):
            if x == 20:
                running.stop(None)
            assert log.value(float(x)) == np.log(x)
    running.stop(None).wait()


def test_pieces_go_to_several_servers(replicas: list[Any]):
    """A large call is computed by all of them."""
    from gradwire import GrpcTransport, Model

    address = Address(tuple(server.target for server in replicas), "log")
    with Model(GrpcTransport(address, message_limit=1600)) as log:
        for _ in range(ROUNDS):
            assert np.array_equal(log.value(X), np.log(X))
            if all_are_asked(replicas, least=5):
                break
    assert all_are_asked(replicas, least=5)


def test_several_servers_behind_certificates(secured: Callable[..., Any], pki: Path):
    """Their certificates must hold for the first one's name."""
    targets = [secured().target for _ in range(2)]
    tls = TLS(root_certificates=pki / "authority.pem")
    ask(targets, tls=tls)
    with pytest.raises(gradwire.ServerUnreachable, match="could not be trusted"):
        gradwire.connect([secured("elsewhere").target] * 2, "log", tls=tls, timeout=30.0)


def test_dns_takes_turns_too(stand_in: Any):
    """What stands behind a name after dns:/// takes turns, and one server alone is asked every time."""
    port = stand_in.target.rpartition(":")[2]
    assert Address(f"dns:///localhost:{port}", "log").is_balanced
    ask(f"dns:///localhost:{port}")


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([], gradwire.UsageError, "no server is given"),
        (["a:1", "dns:///b:1"], gradwire.UsageError, "server 'dns:///b:1', expected host:port"),
        (["127.0.0.1:1", "[::1]:1"], gradwire.UsageError, "IPv4 and IPv6, expected one of them"),
        (["nowhere.invalid:1"], gradwire.ServerUnreachable, "no server nowhere.invalid:1 .*check the name"),
    ],
)
def test_several_servers_that_cannot_be(target: Any, error: type[Exception], message: str):
    """What gRPC could not dial is told before it tries."""
    with pytest.raises(error, match=message):
        gradwire.connect(target, "log")


def test_how_several_servers_are_dialled():
    """GRPC takes several addresses as numbers of one family."""
    assert Address(("127.0.0.1:1", "127.0.0.2:2"), "log").resolve() == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert Address(("[::1]:1", "[::2]:2"), "log").resolve() == "ipv6:[::1]:1,[::2]:2"
    assert str(Address(("a:1", "b:2"), "log", version=3)) == "log version 3 at a:1, b:2"
