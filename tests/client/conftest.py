"""The stand-in server and the models in closed form, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.client.models import (
    bumpy_fake,
    curved_all,
    curved_fake,
    log_both,
    log_curved_fake,
    log_fake,
    multi_both,
    multi_fake,
)
from tests.client.stand_in import StandIn

import gradwire


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A running server, a fresh one for each test."""
    server = StandIn()
    running = server.start()
    yield server
    running.stop(None).wait()


@pytest.fixture
def make_stand_in() -> type[StandIn]:
    """The class, for tests that start servers of their own."""
    return StandIn


def server_credentials(pki: Path, name: str, *, mutual: bool = False) -> grpc.ServerCredentials:
    """A server's certificate and key."""
    pair = ((pki / f"{name}.key").read_bytes(), (pki / f"{name}.pem").read_bytes())
    return grpc.ssl_server_credentials([pair], (pki / "authority.pem").read_bytes() if mutual else None, mutual)


@pytest.fixture
def secured(pki: Path, make_stand_in: Any) -> Iterator[Callable[..., Any]]:
    """Starts servers behind a certificate."""
    running: list[grpc.Server] = []

    def start(name: str = "server", *, mutual: bool = False) -> Any:
        server = make_stand_in()
        running.append(server.start("localhost:0", server_credentials(pki, name, mutual=mutual)))
        return server

    yield start
    for one in running:
        one.stop(None).wait()


@pytest.fixture
def log() -> gradwire.Model:
    """The logarithm, without a server."""
    return gradwire.Model(log_fake())


@pytest.fixture
def multi() -> gradwire.Model:
    """Inputs x (3 numbers) and t (1), outputs f, g (1) and w (3), without a server."""
    return gradwire.Model(multi_fake())


@pytest.fixture
def curved() -> gradwire.Model:
    """Inputs x (3 numbers) and t (1), outputs f (1) and w (2), every signature, without a server."""
    return gradwire.Model(curved_fake())


@pytest.fixture
def bumpy() -> gradwire.Model:
    """One input of 3 numbers, one output of 1, every signature, without a server."""
    return bumpy_fake().connect()


@pytest.fixture
def log_curved() -> gradwire.Model:
    """The logarithm with every signature, without a server."""
    return log_curved_fake().connect()


@pytest.fixture
def make_log() -> Callable[..., gradwire.Model]:
    """Makes a logarithm: ``make_log(dtype, both)``."""
    return lambda *args, **kwargs: gradwire.Model(log_fake(*args, **kwargs))


@pytest.fixture
def make_multi() -> Callable[..., gradwire.Model]:
    """Makes the model of several inputs: ``make_multi(dtype, both)``."""
    return lambda *args, **kwargs: gradwire.Model(multi_fake(*args, **kwargs))


@pytest.fixture
def closed_forms() -> dict[str, Callable[..., dict[str, np.ndarray]]]:
    """The functions behind the models."""
    return {"log": log_both, "multi": multi_both, "curved": curved_all}
