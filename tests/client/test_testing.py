"""`gradwire.testing`: fakes for the tests of other people's programs."""

from __future__ import annotations

import asyncio
import copy
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradwire
import gradwire.aio
from gradwire.testing import FakeModel, RecordingTransport, fake_server

pytest_plugins = ["gradwire_pytest"]  # an entry point elsewhere; the name of both is one, so that pytest takes it once

X, T = np.array([[0.3, -0.7, 0.5], [0.1, 0.2, 0.3]]), np.array([1.3, 0.9])


def reciprocal(x: np.ndarray) -> np.ndarray:
    """The derivative of the logarithm."""
    return 1 / x


@pytest.fixture
def log() -> FakeModel:
    """The logarithm with both derivatives."""
    return FakeModel(np.log, reciprocal, lambda x: -1 / x**2, name="log")


def pair(x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    """Gives f = |x|² t and w = (x0 t³, x1 x2)."""
    return {"f": (x * x).sum(1) * t, "w": np.stack([x[:, 0] * t**3, x[:, 1] * x[:, 2]], 1)}


def pair_grad(x: np.ndarray, t: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Gives their derivatives."""
    o = np.zeros_like(t)
    w_x = np.array([[t**3, o, o], [o, x[:, 2], x[:, 1]]])
    return {
        "f": {"x": 2 * x * t[:, None], "t": (x * x).sum(1)},
        "w": {"x": np.moveaxis(w_x, -1, 0), "t": np.stack([3 * x[:, 0] * t**2, o], 1)},
    }


def pair_hess(x: np.ndarray, t: np.ndarray) -> dict[str, Any]:
    """Gives their second derivatives, in both orders of each pair of inputs."""
    o = np.zeros_like(t)
    w_xx = np.zeros((len(t), 2, 3, 3))
    w_xx[:, 1, 1, 2] = w_xx[:, 1, 2, 1] = 1
    w_xt = np.moveaxis(np.array([[3 * t**2, o, o], [o, o, o]]), -1, 0)
    return {
        "f": {"x": {"x": 2 * t[:, None, None] * np.eye(3), "t": 2 * x}, "t": {"x": 2 * x, "t": o}},
        "w": {"x": {"x": w_xx, "t": w_xt}, "t": {"x": w_xt, "t": np.stack([6 * x[:, 0] * t, o], 1)}},
    }


def both(**options: Any) -> FakeModel:
    """Two inputs, two outputs, every derivative."""
    return FakeModel(pair, pair_grad, pair_hess, inputs={"x": 3, "t": 1}, outputs={"f": 1, "w": 2}, **options)


def same(result: Any, expected: Any, rtol: float = 1e-14) -> None:
    """Compares nested dicts of arrays."""
    if isinstance(expected, dict):
        assert set(result) == set(expected)
        for name in expected:
            same(result[name], expected[name], rtol)
    else:
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=rtol)


def test_a_model_returns_what_the_functions_return(log):
    """One input and one output: plain arrays, and no server."""
    model = log.connect()
    assert model.value_and_grad(2.0) == (np.log(2.0), 0.5)
    same(model.hessian([1.0, 2.0]), [-1, -0.25])
    same(model.hvp([1.0, 2.0], [3.0, 1.0]), [-3, -0.25])
    assert log.calls == [("serving_default", 1), ("hessian", 2), ("hvp", 2)]
    assert log.rows == 5


def test_several_inputs_and_outputs():
    """By name; products of derivatives follow from the derivatives, and pass the client's own verification."""
    model = both(domain={"x": (-1, 1), "t": (0.5, 2)}).connect()
    same(model.value(X, T), pair(X, T))
    same(model.grad(X, T), pair_grad(X, T))
    same(model.hessian(X, T), pair_hess(X, T))
    assert gradwire.verify(model, points=4).passed
    assert not gradwire.verify(FakeModel(np.log, lambda x: 1.01 / x, domain={"x": (1, 2)}).connect(), points=4).passed


def test_differences_stand_in_for_a_gradient_where_that_is_said():
    """Of every input and output, to some ten digits."""
    fake = FakeModel(pair, "differences", inputs={"x": 3, "t": 1}, outputs={"f": 1, "w": 2})
    same(fake.connect().grad(X, T), pair_grad(X, T), rtol=1e-9)
    same(FakeModel(np.log, "differences").connect().grad([0.5, 2.0]), [2, 0.5], rtol=1e-9)


def test_what_was_not_given_is_refused(log):
    """A package without derivatives, without second ones, without a signature, and a parameter."""
    with pytest.raises(gradwire.GradwireError):
        FakeModel(np.log).connect().grad(1.0)
    with pytest.raises(gradwire.SignatureNotFound):
        FakeModel(np.log, reciprocal).connect().hessian(1.0)
    with pytest.raises(gradwire.SignatureNotFound):
        FakeModel(np.log, reciprocal, lambda x: -1 / x**2, signatures=["hessian"]).connect().hvp(1.0, 1.0)
    held = FakeModel(lambda k, x: k * x, lambda k, x: {"f": {"x": k}}, inputs={"k": 1, "x": 1}, wrt=["x"]).connect()
    same(held.grad(3.0, 2.0), {"f": {"x": 3.0}})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FakeModel(np.log, hess=np.log), "hess is given without grad"),
        (lambda: FakeModel(np.log, signatures=["jvp"]), r"signatures \['jvp'\], expected some of \[\]"),
        (lambda: FakeModel(np.log, dtype="real"), "dtype 'real', expected one of"),
        (lambda: FakeModel(np.log, domain={"y": (0, 1)}), r"domain of \['y'\], expected some of \['x'\]"),
        (lambda: FakeModel(np.log, reciprocal, wrt=["y"]), r"wrt of \['y'\]"),
        (lambda: FakeModel(np.log, inputs={"x_dot": 1}), "x_dot"),
        (lambda: FakeModel(np.sum).connect().value([1.0, 2.0]), r"shape \(\) for 'f', expected \(2,\)"),
        (lambda: FakeModel(np.log, lambda x: 1.0).connect().grad(1.0), "with respect to 'x', expected"),
        (lambda: FakeModel(np.log, outputs={"f": 1, "g": 1}).connect().value(1.0), "expected a dict of"),
        (lambda: FakeModel(lambda x: {"f": x}, outputs={"f": 1, "g": 1}).connect().value(1.0), r"required: \{g\}"),
        (lambda: FakeModel(np.log).fail("GONE"), "error 'GONE', expected an exception, or a gRPC status code"),
        (lambda: FakeModel(np.log).fail("UNAVAILABLE", 0), "times=0, expected 1 or more"),
        (lambda: FakeModel(np.log).publish(np.log, reciprocal), "expected the same: make another FakeModel"),
    ],
)
def test_misuse_is_told(make, words):
    """A fake that is wrong is a UsageError of the test's author, not a wrong number."""
    with pytest.raises(gradwire.UsageError, match=words):
        make()


def test_calls_fail_as_often_as_the_test_has_it(log):
    """With what the client makes of a code, or with an exception; and then they succeed."""
    model = log.connect()
    log.fail("UNAVAILABLE", 2)
    log.fail(gradwire.CheckFailed("of the test"))
    for error in (gradwire.ServerUnreachable, gradwire.ServerUnreachable, gradwire.CheckFailed):
        with pytest.raises(error):
            model.value(1.0)
    assert model.value(1.0) == 0
    assert log.calls == [("value", 1)] * 4
    log.fail("RESOURCE_EXHAUSTED")
    with pytest.raises(gradwire.ServerError) as raised:
        list(model.stream([1.0]))
    assert raised.value.code == "RESOURCE_EXHAUSTED"


def test_a_slow_response_meets_the_timeout(log):
    """When that is over, not when the response would come."""
    log.connect(timeout=5).value(1.0)
    log.delay = 60
    began = time.monotonic()
    with pytest.raises(gradwire.DeadlineExceeded, match=r"within 0\.02 s"):
        log.connect(timeout=0.02).signatures and log.connect(timeout=0.02).value(1.0)
    assert time.monotonic() - began < 30


def test_a_new_version_takes_over(log):
    """A pinned model finds its version gone; a cache of responses is cleared, as with a server."""
    model = log.connect(memoize=10)
    pinned = model.pinned()
    assert model.value(1.0) == pinned.value(1.0) == 0
    assert log.publish(np.exp, np.exp, np.exp) == log.version == 2
    assert model.value(0.0) == 1
    assert model.value(1.0) == np.e
    with pytest.raises(gradwire.ModelNotFound, match=r"Specific\(log, 1\)"):
        pinned.value(3.0)
    assert [(state.version, state.state) for state in model.status()] == [(2, "AVAILABLE"), (1, "END")]


def test_a_copy_calls_the_same_fake(log):
    """Programs that copy their models deeply are counted too."""
    copy.deepcopy(log.connect()).value(1.0)
    assert log.calls == [("value", 1)]


def test_a_recording_hides_signatures(log):
    """Around any transport: calls are recorded, streams included, and some signatures are not there."""
    recording = RecordingTransport(log.transport(), hidden=["value", "hvp"])
    model = gradwire.Model(recording)
    list(model.stream([[1.0, 2.0], []]))
    assert model.value(1.0) == 0
    assert recording.calls == [("serving_default", 2), ("serving_default", 0), ("serving_default", 1)]
    with pytest.raises(gradwire.SignatureNotFound):
        model.hvp(1.0, 1.0)
    assert model.pinned().value(1.0) == 0
    assert len(recording.calls) == 4


def test_code_that_connects_by_itself_is_led_to_the_fake(gradwire_fake):
    """Whatever the target, with threads and with asyncio; other names are not found."""
    log = gradwire_fake(np.log, reciprocal, name="log")

    async def ask() -> float:
        async with await gradwire.aio.connect("models.example:8500", "log") as model:
            log.publish(np.exp, np.exp)
            pinned = await model.pinned()
            log.publish(np.log, reciprocal)
            with pytest.raises(gradwire.ModelNotFound):
                await pinned.value(1.0)
            return await model.value(1.0)

    with gradwire.connect(["10.0.0.1:8500", "10.0.0.2:8500"], "log", tls=True, token="secret") as model:
        assert model.grad(2.0) == 0.5
    assert asyncio.run(ask()) == 0
    assert [name for name, _ in log.calls] == ["serving_default", "value", "value"]
    with pytest.raises(gradwire.ModelNotFound, match=r"the fakes are \['log'\]"):
        gradwire.connect("models.example:8500", "exp")
    with pytest.raises(gradwire.ModelNotFound, match="version 1"):
        gradwire.connect("models.example:8500", "log", version=1)


def test_after_the_block_there_is_no_fake():
    """`gradwire.connect` is what it was."""
    with fake_server() as serve:
        serve(np.log, name="log")
        gradwire.connect("127.0.0.1:1", "log")
    with pytest.raises(gradwire.ServerUnreachable):
        gradwire.connect("127.0.0.1:1", "log", timeout=5)


def test_the_plugin_loads_nothing_until_it_is_used():
    """Pytest imports it in every run of every project of the environment."""
    code = (
        "import sys, pytest; before = set(sys.modules); import gradwire_pytest;"
        "print(sorted(set(sys.modules) - before), 'gradwire' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['gradwire_pytest'] False\n"


@pytest.mark.skipif(not (Path(__file__).parents[2] / "pyproject.toml").exists(), reason="beside the source alone")
def test_pytest_finds_the_plugin():
    """By the entry point, whose name is the module's, so that it can also be named in a conftest."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"gradwire_pytest": "gradwire_pytest"}
    assert "client/gradwire_pytest.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
