"""UM-Bridge's own client against a served model, through the command."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import umbridge

import gradwire

POINT = [[0.3, -0.7, 0.5], [1.3]]
COMMAND = "from gradwire._cli import main; main()"


@pytest.fixture(scope="module")
def url(address: str):
    """Where `gradwire umbridge` serves the model ``pair``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["umbridge", address, "pair", "--port", str(port)]
    with subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        for _ in range(600):
            try:
                requests.get(f"http://127.0.0.1:{port}/Info", timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None, "the command ended"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(30)


@pytest.fixture
def http(url):
    """UM-Bridge's client."""
    return umbridge.HTTPModel(url, "pair")


@pytest.fixture
def model(address):
    """The same model over gRPC."""
    with gradwire.connect(address, "pair") as found:
        yield found


def test_evaluate(http, model):
    """Sizes and values of every output."""
    assert (http.get_input_sizes(), http.get_output_sizes()) == ([3, 1], [1, 2])
    expected = model.value(POINT[0], POINT[1][0])
    f, w = http(POINT)
    np.testing.assert_array_equal(f, [expected["f"]])
    np.testing.assert_array_equal(w, expected["w"])


@pytest.mark.parametrize(("out", "wrt"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_first_derivatives(http, out, wrt):
    """Gradient and ApplyJacobian of every pair, against differences of Evaluate, and against each other."""
    rng = np.random.default_rng(0)
    sens, vec = rng.normal(size=[1, 2][out]).tolist(), rng.normal(size=[3, 1][wrt]).tolist()
    along = http.apply_jacobian(out, wrt, POINT, vec)
    h = 1e-6

    def moved(step):
        point = [list(row) for row in POINT]
        point[wrt] = (np.array(point[wrt]) + step * np.array(vec)).tolist()
        return np.array(http(point)[out])

    np.testing.assert_allclose(along, (moved(h) - moved(-h)) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(np.dot(http.gradient(out, wrt, POINT, sens), vec), np.dot(sens, along), rtol=1e-12)


@pytest.mark.parametrize("out", [0, 1])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_second_derivatives(http, out, first, second):
    """ApplyHessian of every pair of inputs, cross terms included, against differences of Gradient."""
    rng = np.random.default_rng(1)
    sens, vec = rng.normal(size=[1, 2][out]).tolist(), rng.normal(size=[3, 1][second]).tolist()
    h = 1e-6

    def moved(step):
        point = [list(row) for row in POINT]
        point[second] = (np.array(point[second]) + step * np.array(vec)).tolist()
        return np.array(http.gradient(out, first, point, sens))

    found = http.apply_hessian(out, first, second, POINT, sens, vec)
    np.testing.assert_allclose(found, (moved(h) - moved(-h)) / (2 * h), atol=1e-7)


def test_infinities_arrive(http):
    """What is not finite is written so that JSON parsers read it."""
    f, w = http([[1.0, 800.0, 1.0], [1.0]])
    assert np.isfinite(f).all()
    assert w[1] == np.inf


def test_errors_keep_their_reason(http):
    """A vector of the wrong length comes back as the protocol's error, not as a page of HTML."""
    with pytest.raises(Exception, match=r"InvalidInput.*(size|shape|broadcast)"):
        http.apply_hessian(0, 0, 0, POINT, [1.0], [1.0, 2.0])


def test_a_port_in_use_is_said(address, url):
    """The command gives one line and misuse's exit code."""
    port = url.rpartition(":")[2]
    arguments = [sys.executable, "-c", COMMAND, "umbridge", address, "pair", "--port", port]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, cwd=Path.cwd(), check=False)
    assert done.returncode == 2
    assert "another port" in done.stderr
