"""Unix sockets: how they are named, what is asked of them, and what is said where there is none to use."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gradwire
import gradwire.aio
from gradwire import Address


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's name may have 107 bytes, and tmp_path has more."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def targets(path: Path) -> list[str]:
    """Every way to name one socket file."""
    return [f"unix:{path}", f"unix://{path}", f"unix:{os.path.relpath(path)}"]


def test_every_name_of_a_socket(make_stand_in: Any, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """By absolute and relative path, and by an abstract name; a token needs no TLS, and no proxy is asked."""
    server, tokens = make_stand_in(), []
    server.hook = lambda request, context: tokens.append(dict(context.invocation_metadata()).get("authorization"))
    abstract = f"unix-abstract:gradwire-{os.getpid()}"
    running = [server.start(f"unix:{folder}/s"), server.start(abstract)]
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nothing listens
    try:
        for target in (*targets(folder / "s"), abstract):
            with gradwire.connect(target, "log", token="secret") as log:
                assert log.value(1.0) == 0
                assert str(log) == f"<gradwire.Model log at {target}>"
            with gradwire.connect(target, "log") as log:
                assert log.value(1.0) == 0
            assert tokens[-4:] == ["Bearer secret"] * 2 + [None] * 2

            async def awaited(target: str = target) -> Any:
                async with await gradwire.aio.connect(target, "log", token=lambda: "other") as log:
                    return await log.value(1.0)

            assert asyncio.run(awaited()) == 0
            assert tokens[-1] == "Bearer other"
    finally:
        for one in running:
            one.stop(None).wait()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("unix://run/tf.sock", "expected a third slash, unix:///run/tf.sock"),
        ("unix:", "expected a path, such as unix:///run/tf.sock"),
        ("unix:///", "expected a path"),
        ("unix-abstract:", "expected a path"),
        ("unix:" + "a" * 108, "a name of 108 bytes, expected at most 107"),
    ],
)
def test_names_that_cannot_be(target: str, message: str):
    """What cannot be a socket's name is misuse."""
    with pytest.raises(gradwire.UsageError, match=message):
        Address(target, "log")


def test_sockets_that_cannot_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Each reason has its line, at once: no file, no socket, no directory, no permission, nobody listening."""
    (folder / "file").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "left"))  # and nobody listens
    cases = {
        "none": "there is no socket .*/none; is the server running.*--grpc_socket_path .*/none",
        "file": "file is a file, expected the socket of a server",
        "": "is a directory, expected the socket of a server",
        "file/s": r"cannot reach the socket .*/file/s \(Not a directory\)",
        "left": "no answer from unix:.*/left",
    }
    for name, message in cases.items():
        with pytest.raises(gradwire.ServerUnreachable, match=message) as caught:
            gradwire.connect(f"unix:{folder}/{name}", "log", timeout=5)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr("gradwire._wire.address.os.access", lambda path, mode: False)  # root may do everything
    with pytest.raises(gradwire.ServerUnreachable, match=r"no permission to use the socket .*/left \(s"):
        gradwire.connect(f"unix:{folder}/left", "log")
