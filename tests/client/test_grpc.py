"""`connect`, against a gRPC server that answers as TensorFlow Serving does."""

from __future__ import annotations

import http.server
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest

import gradwire
from gradwire import Address, GrpcTransport, Model
from gradwire._grpc import fork
from gradwire._wire.tensor import encode


@pytest.mark.parametrize("rows", [0, 1, 64, 5000])
@pytest.mark.parametrize("name", ["log", "log32"])
@pytest.mark.parametrize("write", ["values", "content"])
def test_value_and_grad(stand_in: Any, rows: int, name: str, write: str):
    """The answer is the server's to the last bit, in its dtype, from either encoding."""
    if write == "content":
        stand_in.write = encode
    x = np.linspace(0.1, 1.9, rows, dtype="float32" if name == "log32" else "float64")
    with gradwire.connect(stand_in.target, name) as log:
        f, df = log.value_and_grad(x)
        assert (f.dtype, f.shape, f.flags.writeable) == (x.dtype, x.shape, True)
        assert np.array_equal(f, np.log(x))
        assert np.array_equal(df, 1 / x)
        assert np.array_equal(log.value(x), np.log(x))


def test_several_inputs(stand_in: Any, closed_forms: dict[str, Callable[..., Any]]):
    """Several inputs and outputs travel as well as one of each."""
    x, t = np.random.default_rng(0).normal(size=(7, 3)), np.ones(7)
    with gradwire.connect(stand_in.target, "multi") as multi:
        values, grads = multi.value_and_grad(x, t)
    exact = closed_forms["multi"](x, t[:, None])
    assert np.array_equal(values["w"], exact["w"])
    assert np.array_equal(grads["w"]["x"], exact["w_by_space"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("write", ["values", "content"])
def test_bits_survive_the_way_there_and_back(stand_in: Any, dtype: str, write: str):
    """Every bit pattern comes back as it was sent: NaN payloads, infinities, negative zero, denormals."""
    if write == "content":
        stand_in.write = encode
    bits = np.random.default_rng(0).integers(0, 2**64, 3000, np.uint64)
    edges = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, -1e-310, 1e-45, -1e-40], np.float64)
    x = np.concatenate([bits.view(dtype), edges.astype(dtype), np.zeros(1, dtype)])[: len(bits)].reshape(-1, 2)
    with gradwire.connect(stand_in.target, f"same{dtype[5:]}") as same:
        assert same.predict("same", x=x)["y"].tobytes() == x.tobytes()


def test_metadata(stand_in: Any):
    """Signatures, card and status are the server's; TensorFlow's pseudo-signatures are left out."""
    with gradwire.connect(stand_in.target, "multi") as multi:
        assert list(multi.signatures) == ["card", "serving_default", "value"]
        assert multi.signatures["value"].outputs["w"] == gradwire.TensorSpec("w", "float64", (None, 3))
        assert [tensor.name for tensor in multi.card.inputs] == ["x", "t"]
        assert multi.status() == [(2, "END", "DATA_LOSS: truncated"), (1, "AVAILABLE", "")]
        assert repr(multi) == f"<gradwire.Model multi at {stand_in.target}>"


@pytest.mark.parametrize(
    ("chosen", "factor"), [({}, 2), ({"version": 1}, 1), ({"version": 2}, 2), ({"label": "stable"}, 1)]
)
def test_versions_and_labels(stand_in: Any, chosen: dict[str, Any], factor: int):
    """A version is asked for by number or by label; the newest is the default."""
    with gradwire.connect(stand_in.target, "versions", **chosen) as log:
        assert log.value(1.5) == factor * np.log(1.5)


def test_little_travels(stand_in: Any):
    """X travels once, as raw bytes; `value` asks for no derivative."""
    with gradwire.connect(stand_in.target, "log") as log:
        log.card  # noqa: B018 - asked for now, so that the request of interest is the last
        log.value_and_grad(np.linspace(0.1, 1.9, 4096))
        assert stand_in.requests[-1].ByteSize() <= 1.02 * 4096 * 8
        log.value(1.0)
        assert stand_in.requests[-1].model_spec.signature_name == "value"


# -- errors


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("nope", {}, r"nope at .*Latest\(nope\)"),
        ("log", {"version": 99}, r"log version 99 at .*Specific\(log, 99\)"),
        ("log", {"label": "stable"}, r"log label 'stable' at .*Unrecognized servable version label: stable"),
    ],
)
def test_no_such_model(stand_in: Any, name: str, chosen: dict[str, Any], message: str):
    """A model, version or label that is not there fails in connect."""
    with pytest.raises(gradwire.ModelNotFound, match=message):
        gradwire.connect(stand_in.target, name, **chosen)


def test_nothing_listens(stand_in: Any, make_stand_in: Any):
    """An address where nothing answers fails in connect, and says what to try."""
    other = make_stand_in()
    other.start().stop(None).wait()
    port = other.target.rpartition(":")[2]
    message = rf"no answer from {other.target} .*is it running\? gradwire serve models --port {port}"
    with pytest.raises(gradwire.ServerUnreachable, match=message):
        gradwire.connect(other.target, "log")


@pytest.mark.parametrize(
    ("target", "kwargs", "message"),
    [
        ("localhost", {}, "server 'localhost', expected host:port"),
        ("http://localhost:8500", {}, "no http://"),
        ("localhost:", {}, "expected host:port"),
        ("localhost:99999", {}, "expected host:port"),
        ("a b:1", {}, "expected host:port"),
        ("", {}, "expected host:port"),
        ("localhost:1", {"model": ""}, "name is empty"),
        ("localhost:1", {"version": 1, "label": "a"}, "version 1 and label 'a' are both given"),
        ("localhost:1", {"version": -1}, "version -1"),
        ("localhost:1", {"version": "1"}, "version='1', expected a number, or None"),
        ("localhost:1", {"label": 1}, "label=1, expected a label"),
        ("localhost:1", {"tls": "c.pem"}, r"tls='c.pem', expected None, True, or gradwire.TLS\(…\) with files"),
        ("localhost:1", {"tls": True, "token": 3}, "token=3, expected text, or a function"),
        ("localhost:1", {"timeout": None}, "timeout=None, expected seconds"),
        ("localhost:1", {"timeout": "3"}, "timeout='3', expected seconds"),
        ("localhost:1", {"tls": gradwire.TLS(root_certificates="none.pem")}, "none.pem"),
        ("localhost:1", {"tls": gradwire.TLS(cast("Any", 3))}, "TLS file 3, expected a path"),
        ("localhost:1", {"tls": gradwire.TLS(root_certificates=Path("none.pem"))}, "none.pem"),
        ("localhost:1", {"tls": gradwire.TLS(private_key=Path("none.pem"))}, "expected both or neither"),
    ],
)
def test_arguments_that_cannot_be(target: str, kwargs: dict[str, Any], message: str):
    """An address that cannot be is misuse, told before any connection."""
    with pytest.raises(gradwire.UsageError, match=message):
        gradwire.connect(target, **{"model": "log", **kwargs})


@pytest.mark.parametrize(
    "target", ["[::1]:8500", "dns:///localhost:8500", "ipv4:127.0.0.1:1", "unix:/tmp/s", "a-b.c:1"]
)
def test_targets_of_every_form(target: str):
    """GRPC's forms of an address are taken."""
    assert str(Address(target, "log")) == f"log at {target}"


@pytest.mark.parametrize(
    ("code", "details", "error", "message"),
    [
        (
            "INVALID_ARGUMENT",
            "Task size 33 is larger than maximum input batch size 32",
            gradwire.ServerError,
            "raise max_batch_size",
        ),
        (
            "FAILED_PRECONDITION",
            'Serving signature key "value" not found.',
            gradwire.SignatureNotFound,
            "connect again",
        ),
        ("INTERNAL", "odd", gradwire.ServerError, "INTERNAL: odd"),
        ("DEADLINE_EXCEEDED", "late", gradwire.DeadlineExceeded, r"within 60 s"),
    ],
)
def test_statuses(stand_in: Any, code: str, details: str, error: type[gradwire.GradwireError], message: str):
    """Each status of a server is the error of its kind, with the server's words and what to do."""
    with gradwire.connect(stand_in.target, "log") as log:
        stand_in.hook = lambda request, context: context.abort(grpc.StatusCode[code], details)
        with pytest.raises(error, match=message) as caught:
            log.predict("value", x=[[1.0]])
    if isinstance(caught.value, gradwire.ServerError):
        assert caught.value.code == code
        assert pickle.loads(pickle.dumps(caught.value)).code == code


def hurried(model: Model, timeout: float) -> Model:
    """The same model with less time for its calls, but as much as it took to ask for its signatures and card."""
    hurried = Model(model._transport, timeout=timeout)
    hurried.__dict__["signatures"], hurried.__dict__["_package"] = model.signatures, model._package
    model.card  # noqa: B018 - asked for now
    return hurried


def test_deadline(stand_in: Any):
    """A slow answer ends at the timeout, which the message names."""
    with gradwire.connect(stand_in.target, "log") as log:
        impatient = hurried(log, 0.2)
        stand_in.hook = lambda request, context: time.sleep(0.6)
        with pytest.raises(gradwire.DeadlineExceeded, match=r"within 0\.2 s"):
            impatient.value(1.0)


def test_answers_that_are_no_serving_answers(stand_in: Any):
    """A service that answers something else is told apart from a result."""
    with gradwire.connect(stand_in.target, "log") as log:
        log.card  # noqa: B018 - asked for while the server still answers
        stand_in.write = lambda array, dtype, message: message.MergeFromString(b"\x08\x01\x2a\x03abc")
        with pytest.raises(gradwire.ServerError, match=r"has the shape \(\), expected \(1, 1\)"):
            log.value(1.0)


class _Http(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.mark.slow
def test_an_http_server():
    """Serving's REST port, or any web server, is named as what it is not."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Http)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(gradwire.ServerUnreachable, match="speaks HTTP, not gRPC"):
            gradwire.connect(f"127.0.0.1:{server.server_port}", "log", timeout=10)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_grpc_server_of_another_kind():
    """A gRPC server that is not Serving is named as what it is not."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(gradwire.ServerError, match=r"UNIMPLEMENTED.*expected TensorFlow Serving"):
        gradwire.connect(f"127.0.0.1:{port}", "log")
    server.stop(None).wait()


# -- large calls


@pytest.fixture
def in_pieces(stand_in: Any) -> Iterator[Callable[..., Model]]:
    """Makes models whose messages hold some 100 rows."""
    made: list[Model] = []

    def make(name: str = "log", *, timeout: float = 60.0) -> Model:
        made.append(Model(GrpcTransport(Address(stand_in.target, name), message_limit=1600), timeout=timeout))
        return made[-1]

    yield make
    for model in made:
        model.close()


X = np.linspace(0.1, 1.9, 1000)


def test_large_calls_are_cut_and_put_together(stand_in: Any, in_pieces: Callable[..., Model]):
    """Ten pieces give what one call gives, in order, though they are answered out of order."""
    stand_in.hook = lambda request, context: time.sleep(0.02 * (len(stand_in.requests) % 3))
    f, df = in_pieces().value_and_grad(X)
    assert np.array_equal(f, np.log(X))
    assert np.array_equal(df, 1 / X)
    sizes = [request.ByteSize() for request in stand_in.requests[1:]]  # the first is the card's
    assert len(sizes) == 10
    assert max(sizes) < 1600


def test_the_default_limit_is_below_grpcs(stand_in: Any):
    """400,000 rows travel in messages that every proxy lets through, both ways."""
    x = np.linspace(0.1, 1.9, 400_000)
    with gradwire.connect(stand_in.target, "log") as log:
        f, df = log.value_and_grad(x)
    assert np.array_equal(f, np.log(x))
    assert np.array_equal(df, 1 / x)
    sizes = [request.ByteSize() for request in stand_in.requests[1:]]
    assert len(sizes) == 2
    assert 2 * max(sizes) < 4 * 1024 * 1024  # the answer has two numbers for each one sent


def test_a_failed_piece_fails_the_call(stand_in: Any, in_pieces: Callable[..., Model]):
    """A piece that fails ends the call with its error, and most pieces are never sent."""
    log = in_pieces()
    log.card  # noqa: B018 - asked for while the server still answers

    def refuse_third(request: Any, context: grpc.ServicerContext) -> None:
        if len(stand_in.requests) >= 3:
            context.abort(grpc.StatusCode.INTERNAL, "third time unlucky")

    stand_in.hook = refuse_third
    with pytest.raises(gradwire.ServerError, match="third time unlucky"):
        log.value_and_grad(X)
    assert len(stand_in.requests) < 10


def test_one_deadline_for_all_pieces(stand_in: Any, in_pieces: Callable[..., Model]):
    """Pieces that are each quick enough, but not together, end at the one timeout."""
    log = hurried(in_pieces(), 0.5)
    stand_in.hook = lambda request, context: time.sleep(0.3)
    with pytest.raises(gradwire.DeadlineExceeded, match=r"within 0\.5 s"):
        log.value_and_grad(X)


def test_a_version_that_comes_between_two_pieces(stand_in: Any, in_pieces: Callable[..., Model]):
    """Pieces answered by two versions are never mixed: the call is made again, all by the newer one."""
    new = stand_in.models["versions"].pop(2)
    log = in_pieces("versions")
    log.card  # noqa: B018 - the requests that count come after

    def swap(request: Any, context: grpc.ServicerContext) -> None:
        if len(stand_in.requests) == 6:
            stand_in.models["versions"][2] = new

    stand_in.hook = swap
    f, _ = log.value_and_grad(X)
    assert np.array_equal(f, 2 * np.log(X))
    assert [request.model_spec.version.value for request in stand_in.requests[-10:]] == [2] * 10


def test_pieces_of_unlike_shape_are_refused(stand_in: Any, in_pieces: Callable[..., Model]):
    """A piece with a row too few is an error, not a shift of all that follow."""
    log = in_pieces()
    log.card  # noqa: B018 - asked for while the server is right
    stand_in.write = lambda array, dtype, message: encode(array[1:], dtype, message)
    with pytest.raises(gradwire.ServerError, match=r"the shape \(99, 1\), expected \(100, 1\)"):
        log.value_and_grad(X)


# -- threads, processes, lines


def test_threads(stand_in: Any):
    """A model is used from many threads at once, each getting its own answer."""
    with gradwire.connect(stand_in.target, "log") as log, ThreadPoolExecutor(16) as pool:
        points = [np.linspace(0.1, 1.9, 1 + index % 7) + index for index in range(200)]
        for x, (f, df) in zip(points, pool.map(log.value_and_grad, points), strict=True):
            assert np.array_equal(f, np.log(x))
            assert np.array_equal(df, 1 / x)


def test_a_pinned_model_keeps_its_version(stand_in: Any):
    """A new version comes: the model gives it, the pinned one goes on with the old; when that is gone it says so."""
    x = 1.5
    versions = stand_in.models["versions"]
    newest = versions.pop(2)
    with gradwire.connect(stand_in.target, "versions") as log, log.pinned() as pinned:
        assert pinned.pinned() is pinned
        versions[2] = newest
        assert (log.value(x), pinned.value(x)) == (2 * np.log(x), np.log(x))
        with log.pinned() as newer:
            assert newer.value(x) == 2 * np.log(x)
        del versions[1]
        with pytest.raises(gradwire.ModelNotFound, match=r"version 1 at .* a newer version may have replaced it"):
            pinned.value(x)


def test_an_error_comes_alone(stand_in: Any):
    """No traceback of gRPC's stands above the sentence."""
    stand_in.hook = lambda request, context: context.abort(grpc.StatusCode.INTERNAL, "on fire")
    with gradwire.connect(stand_in.target, "log") as log:
        for x in (1.0, np.ones(2_000_000)):
            with pytest.raises(gradwire.ServerError, match="on fire") as caught:
                log.value(x)
            assert caught.value.__context__ is None or caught.value.__suppress_context__
    with pytest.raises(gradwire.ModelNotFound) as caught:
        gradwire.connect(stand_in.target, "exp")
    assert caught.value.__suppress_context__


def test_pickles_as_its_address(stand_in: Any):
    """A pickle holds the address and the timeout, no data, and connects where it is opened."""
    with gradwire.connect(stand_in.target, "versions", version=1, timeout=7.0) as log:
        data = pickle.dumps(log)
    assert len(data) < 400
    with pickle.loads(data) as again:
        assert again.value(1.5) == np.log(1.5)
        assert again._options.timeout == 7.0


def test_closed(stand_in: Any):
    """A closed model says so; closing twice is harmless."""
    log = gradwire.connect(stand_in.target, "log")
    log.close()
    log.close()
    with pytest.raises(gradwire.UsageError, match="was closed"):
        log.value(1.0)


PROCESSES = """
import multiprocessing, sys
import numpy as np
import gradwire

def child(log, queue):
    x = np.linspace(0.1, 1.9, 100_000)
    queue.put(bool(np.array_equal(log.value_and_grad(x)[0], np.log(x))))

if __name__ == "__main__":
    target, method = sys.argv[1:]
    log = gradwire.connect(target, "log")
    x = np.linspace(0.1, 1.9, 300_000)
    assert np.array_equal(log.value(x), np.log(x))  # in pieces, so that gRPC's threads are running
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=child, args=(log, queue)) for _ in range(3)]
    for process in children:
        process.start()
    print([queue.get(timeout=60) for _ in children], log.value(1.0) == 0.0, end=" ")
    for process in children:
        process.join(60)
    print([process.exitcode for process in children], log.value(1.0) == 0.0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(stand_in: Any, tmp_path: Path, method: str):
    """A model used before a fork works in the children and goes on in the parent; spawned ones get its address."""
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    found = subprocess.run(
        [sys.executable, script, stand_in.target, method],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"GRPC_ENABLE_FORK_SUPPORT": "1"},  # which grpcio before 1.80 needs
    )
    assert found.stdout == "[True, True, True] True [0, 0, 0] True\n", found.stderr


def test_a_grpcio_that_does_not_survive_a_fork(stand_in: Any, monkeypatch: pytest.MonkeyPatch):
    """With a grpcio whose forks fail, the child is told so, not that the server is gone; or gRPC is told of forks."""
    with gradwire.connect(stand_in.target, "log") as log:
        own = os.getpid()
        monkeypatch.setattr(grpc, "__version__", "1.63.0")
        monkeypatch.setattr(fork, "_SETTING", "")
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        with pytest.raises(gradwire.UsageError, match=r"grpcio 1\.63\.0 does not survive a fork, expected 1\.80"):
            log.value(1.0)
        monkeypatch.setattr(fork, "_SETTING", "1")
        assert log.value(1.0) == 0


@pytest.mark.slow
def test_a_server_that_comes_back(make_stand_in: Any):
    """A call that finds its server gone waits for it, as long as its time lasts, and is answered when it is back."""
    server = make_stand_in()
    running = server.start()
    with gradwire.connect(server.target, "log") as log, ThreadPoolExecutor(1) as pool:
        assert log.value(1.0) == 0
        impatient = hurried(log, 1.0)
        running.stop(None).wait()
        with pytest.raises(gradwire.ServerUnreachable, match=r"tried \d+ times.*is it running"):
            impatient.value(1.0)
        waiting = pool.submit(log.value, 1.0)
        time.sleep(0.5)
        running = server.start(server.target)
        assert waiting.result() == 0
        running.stop(None).wait()
