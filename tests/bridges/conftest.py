"""One server for all bridges, models that count their calls, and the same functions in NumPy."""

from __future__ import annotations

import os
import runpy
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire.testing import FakeModel, RecordedCall, RecordingTransport
from gradwire_export import export
from gradwire_serving import EmbeddedServer, ServerOptions

EXAMPLES = Path(__file__).parents[2] / "examples"


def curved(xp: ModuleType, x: Any, t: Any) -> Any:
    """t² (x₀² x₁ + sin x₂) + t x₁ x₂ at x (…, 3) and t (…); ``xp`` is any framework with a sine."""
    return t * t * (x[..., 0] ** 2 * x[..., 1] + xp.sin(x[..., 2])) + t * x[..., 1] * x[..., 2]


def pair(xp: ModuleType, x: Any, t: Any) -> tuple[Any, Any, Any]:
    """The function ``curved``, and the two numbers of a second output."""
    return curved(xp, x, t), x[..., 0] * t**3, xp.exp(x[..., 1] * x[..., 2]) * t


def _served_pair(x: tf.Tensor, t: tf.Tensor) -> dict[str, tf.Tensor]:
    f, first, second = pair(tf, x, t[:, 0])
    return {"f": f[:, None], "w": tf.stack([first, second], 1)}


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the functions of the examples, and pair, are served, in float64."""
    root = _shared(tmp_path_factory)
    try:
        root.mkdir()
    except FileExistsError:  # another process of this run makes the packages
        while not (root / "ready").exists():
            time.sleep(0.2)
    else:
        _export_all(root / "models")
        (root / "ready").touch()
    server = EmbeddedServer(ServerOptions(directory=root / "models", port=0))
    server.start()
    yield server.address
    server.stop(grace=0)


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that does not exist yet, the same for every process of this run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bridges"


def _export_all(root: Path) -> None:
    models = runpy.run_path(str(EXAMPLES / "bridge_server.py"))
    models["export_all"](root)
    inputs = {"x": models["vector"](3), "t": models["vector"](1)}
    box = {"x": (-1.0, 1.0), "t": (0.5, 2.0)}
    export(_served_pair, to=root / "pair", inputs=inputs, domain=box, signatures=["hvp", "hessian"])


@pytest.fixture
def served(address: str) -> Iterator[Callable[..., tuple[gradwire.Model, list[RecordedCall]]]]:
    """Connects to a model by name, without some of its signatures if need be; gives its list of calls beside it."""
    models: list[gradwire.Model] = []

    def connect(name: str, *, hidden: Sequence[str] = ()) -> tuple[gradwire.Model, list[RecordedCall]]:
        transport = RecordingTransport(gradwire.connect(address, name)._transport, hidden=hidden)
        models.append(gradwire.Model(transport))
        return models[-1], transport.calls

    yield connect
    for model in models:
        model.close()


@pytest.fixture
def with_parameter() -> gradwire.Model:
    """Gives f = k x², differentiated by x alone; k is a parameter."""
    return FakeModel(
        lambda k, x: {"f": k * (x**2).sum(1)},
        lambda k, x: {"f": {"x": 2 * k[:, None] * x}},
        lambda k, x: {"f": {"x": {"x": 2 * k[:, None, None] * np.eye(2)}}},
        inputs={"k": 1, "x": 2},
        wrt=["x"],
        name="scaled",
        signatures=["hvp"],
    ).connect()


@pytest.fixture(params=[(), ("hessian",)], ids=["hessian", "hvp alone"])
def hidden(request: pytest.FixtureRequest) -> Sequence[str]:
    """With both signatures for second derivatives, and with `hvp` alone."""
    return request.param


@pytest.fixture
def point() -> tuple[np.ndarray, float]:
    """Where derivatives are compared."""
    return np.array([0.3, -0.7, 0.5]), 1.3
