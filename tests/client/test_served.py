"""Every method against a real package, in process and over gRPC, beside the same function without TensorFlow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradwire
import gradwire.aio

tf = pytest.importorskip("tensorflow", reason="the client alone is tested where there is no TensorFlow")
pytestmark = pytest.mark.slow  # exports a package with every signature and serves it

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(5, 3)), RNG.uniform(0.5, 2.0, 5)
TANGENTS = {"x_dot": RNG.normal(size=(4, 5, 3)), "t_dot": RNG.normal(size=(4, 5))}
COTANGENTS = {"f_bar": RNG.normal(size=5), "w_bar": RNG.normal(size=(5, 2))}
CALLS = [
    *((name, {}) for name in ("value", "grad", "value_and_grad", "jacobian", "hessian")),
    ("jvp", TANGENTS),
    ("vjp", COTANGENTS),
    ("hvp", TANGENTS),
]


def function(x: Any, t: Any) -> dict[str, Any]:
    """The function of ``curved``."""
    f = t * t * (x[:, :1] ** 2 * x[:, 1:2] + tf.sin(x[:, 2:3]))
    return {"f": f, "w": tf.concat([x[:, :1] * t**3, x[:, 1:2] * x[:, 2:3] * t], 1)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The package's address and its directory."""
    from gradwire_export import export
    from gradwire_serving import EmbeddedServer, ServerOptions

    root = tmp_path_factory.mktemp("models")
    inputs = {"x": tf.TensorSpec((None, 3), tf.float64), "t": tf.TensorSpec((None, 1), tf.float64)}
    export(function, to=root / "curved", inputs=inputs, domain={"x": (-1.0, 1.0), "t": (0.5, 2.0)})
    server = EmbeddedServer(ServerOptions(directory=root, port=0))
    server.start()
    yield server.address, root / "curved"
    server.stop(grace=0)


def close(found: Any, expected: Any) -> None:
    """Compares arrays in tuples and dicts."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            close(found[name], expected[name])
    elif isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            close(one, other)
    else:
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_every_method(served: tuple[str, Path], curved: gradwire.Model):
    """A real package gives what the closed forms give: over gRPC, in process, and awaited."""
    address, path = served
    expected = [getattr(curved, name)(X, T, **more) for name, more in CALLS]

    async def go(opening: Any) -> None:
        async with await opening as model:
            found = await asyncio.gather(*[getattr(model, name)(X, T, **more) for name, more in CALLS])
            close(tuple(found), tuple(expected))

    with gradwire.connect(address, "curved") as remote, gradwire.load(path) as local:
        for model in (remote, local):
            for (name, more), value in zip(CALLS, expected, strict=True):
                close(getattr(model, name)(X, T, **more), value)
        asyncio.run(go(gradwire.aio.connect(address, "curved")))
        asyncio.run(go(gradwire.aio.Model.open(gradwire.aio.InThreads(local._transport))))


def test_chosen_outputs_and_inputs(served: tuple[str, Path]):
    """A real package computes the pairs that are chosen as it computes all of them: the same bits."""
    address, path = served
    with gradwire.connect(address, "curved") as remote, gradwire.load(path) as local:
        for model in (remote, local):
            out = np.empty((5, 2, 3))
            assert model.grad(X, T, wrt="x", of="w", out=out) is out
            assert np.array_equal(out, model.grad(X, T)["w"]["x"])
            assert np.array_equal(model.hessian(X, T, wrt="t", of="f"), model.hessian(X, T)["f"]["t"]["t"])
            many = TANGENTS["t_dot"]
            assert np.array_equal(model.jvp(X, 1.5, many, wrt="t", of="w"), model.jvp(X, 1.5, t_dot=many)["w"])


def test_large_calls_and_streams(served: tuple[str, Path], curved: gradwire.Model):
    """Pieces and blocks of a real package are put together in order."""
    x, t = RNG.normal(size=(100_000, 3)), RNG.uniform(0.5, 2.0, 100_000)
    expected = curved.grad(x, t)
    with gradwire.connect(served[0], "curved") as remote:
        close(remote.grad(x, t), expected)
        blocks = zip(np.split(x, 20), np.split(t, 20), strict=True)
        found = list(remote.stream(blocks, "grad"))
    close(np.concatenate([one["w"]["x"] for one in found]), expected["w"]["x"])
