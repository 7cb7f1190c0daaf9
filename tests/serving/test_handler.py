"""The handler of calls, on a Session that records what it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf import meta_graph_pb2

from gradwire_serving import ModelConfig, Servable
from gradwire_serving._core import Manager, ModelRef, Resolver, StatusError, invalid_argument, predict

M = ModelRef("m")
X = {"x": np.ones(1)}


class RecordingSession:
    """One signature, y of x, and the timeouts that it was run with."""

    def __init__(self) -> None:
        signature = meta_graph_pb2.SignatureDef()
        signature.inputs["x"].name, signature.outputs["y"].name = "x:0", "y:0"
        self.meta_graph = SimpleNamespace(signature_def={"serving_default": signature})
        self.timeouts: list[float | None] = []

    def output(self, name: str) -> str:
        return name

    def has_loops(self, names: Iterable[str]) -> bool:
        return bool(set(names) - {"y:0"})

    def run(
        self, feeds: dict[str, np.ndarray], fetches: list[str], timeout: float | None, *, in_callers_thread: bool
    ) -> list[np.ndarray]:
        assert (list(feeds), fetches) == (["x:0"], ["y:0"])
        del in_callers_thread
        self.timeouts.append(timeout)
        return [2 * feeds["x:0"]]

    def close(self) -> None:
        pass


class Undecodable(Mapping[str, np.ndarray]):
    """Inputs whose names can be read, and nothing else."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getitem__(self, name: str) -> np.ndarray:
        raise invalid_argument(f"tensor parsing error: {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@pytest.fixture
def session() -> RecordingSession:
    """Where both versions run."""
    return RecordingSession()


@pytest.fixture
def resolver(session: Any) -> Iterator[Resolver]:
    """A resolver of model m, versions 1 (stable) and 2."""
    manager = Manager(lambda _: Servable(session), max_retries=0, retry_interval=0.0)
    manager.aspire("m", {1: Path("/m/1"), 2: Path("/m/2")})
    manager.wait_until_settled(["m"])
    yield Resolver(manager, [ModelConfig("m", Path("/m"), labels={"stable": 1})])
    manager.stop()


@pytest.mark.parametrize(
    ("model", "version"), [(M, 2), (ModelRef("m", version=1), 1), (ModelRef("m", label="stable"), 1)]
)
def test_a_model_is_named_by_version_label_or_neither(resolver: Resolver, model: ModelRef, version: int):
    """The version that ran comes back with the arrays; with neither it is the latest."""
    ran, arrays = predict(resolver, model, "", X)
    assert ran == version
    assert {name: array.tolist() for name, array in arrays.items()} == {"y": [2.0]}


def test_the_deadline_is_the_sessions_timeout(resolver: Resolver, session: RecordingSession):
    """What is left of the time is passed on; no deadline is no timeout, and one in the past is not 'no limit'."""
    predict(resolver, M, "", X)
    predict(resolver, M, "", X, deadline=time.monotonic() + 1000)
    predict(resolver, M, "", X, deadline=time.monotonic() - 1)
    unlimited, left, late = session.timeouts
    assert unlimited is None
    assert left is not None
    assert 900 < left <= 1000
    assert late is not None
    assert late < 0


@pytest.mark.parametrize(
    ("model", "signature", "names", "output_filter", "message"),
    [
        (ModelRef(""), "", "x", (), "ModelSpec has no name specified."),
        (ModelRef("n"), "nope", "x", (), "Servable not found for request: Latest(n)"),
        (ModelRef("m", version=7), "nope", "x", (), "Servable not found for request: Specific(m, 7)"),
        (ModelRef("m", label="new"), "nope", "x", (), "Unrecognized servable version label: new"),
        (M, "nope", "z", (), 'Serving signature key "nope" not found.'),
        (M, "", "xz", ("z",), "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "),
        (M, "", "x", ("z",), "tensor parsing error: x"),
    ],
)
def test_checks_come_in_servings_order(
    resolver: Resolver,
    model: ModelRef,
    signature: str,
    names: str,
    output_filter: tuple[str, ...],
    message: str,
):
    """Each call is wrong in everything that comes later too: model, signature, names, tensors, output filter."""
    with pytest.raises(StatusError) as caught:
        predict(resolver, model, signature, Undecodable(*names), output_filter)
    assert str(caught.value).startswith(message)
