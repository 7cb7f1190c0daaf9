"""The embedded server's start and end."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from gradwire._errors import UsageError
from gradwire_serving import EmbeddedServer, ServerOptions
from gradwire_serving._core.session import LoadedSession
from gradwire_serving._grpc import front_end, methods
from gradwire_serving._launch import launcher

SERVE = """
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from gradwire_serving import ServerOptions, launch
options = ServerOptions(port=0, model_name="slow", model_base_path=sys.argv[1])
launch(
    "embedded",
    options,
    say=lambda text: print(text, flush=True),
    ready=lambda s: print(s.address, flush=True),
    grace=float(sys.argv[2]),
)
"""


def _ask(address: str, model: str, x: float, timeout: float | None = 60) -> grpc.Future:
    channel = grpc.insecure_channel(address)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[x]], np.float32)))
    call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=timeout)
    call.add_done_callback(lambda _: channel.close())
    return call


def _wait_until(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    while not condition():  # the test's own timeout ends it
        waiting.wait(0.01)


@pytest.mark.parametrize(
    "flag",
    [
        {"per_process_gpu_memory_fraction": 0.5},
    ],
    ids=lambda flag: next(iter(flag)),
)
def test_flags_that_it_does_not_honour_are_refused(models: Path, flag: dict[str, object]):
    """A flag that only TensorFlow Serving has is never taken and ignored: the message names an engine that has it."""
    options = ServerOptions(directory=models, **flag)
    with pytest.raises(UsageError, match=f"--{next(iter(flag))}: .*--engine tensorflow_model_server"):
        EmbeddedServer(options)


def test_a_port_in_use_is_said_before_anything_is_loaded(models: Path):
    """The message has the address and what to do; nothing was loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = EmbeddedServer(ServerOptions(port=port, model_base_path=str(models / "log")))
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: the port is in use; choose another"):
            server.start()
    assert server.available() == {"default": []}


def test_two_servers_never_share_a_port(models: Path):
    """A second server on a running one's port is refused."""
    first = EmbeddedServer(ServerOptions(port=0, model_base_path=str(models / "log")))
    first.start()
    try:
        with pytest.raises(UsageError, match="the port is in use"):
            EmbeddedServer(ServerOptions(port=first.port, model_base_path=str(models / "log"))).start()
    finally:
        first.stop(grace=0)


def test_a_foreign_address_is_refused(models: Path):
    """An address that is not this machine's cannot be listened on."""
    options = ServerOptions(host="192.0.2.1", port=0, model_base_path=str(models / "log"))
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:0"):
        EmbeddedServer(options).start()


def test_a_unix_socket_is_listened_on_as_well(models: Path, tmp_path: Path):
    """--grpc_socket_path serves what the port serves."""
    path = Path(os.path.relpath(tmp_path)) / "s"  # short: a socket's path may have 107 characters
    server = EmbeddedServer(
        ServerOptions(port=0, model_base_path=str(models / "log"), grpc_socket_path=str(path), model_name="log")
    )
    server.start()
    try:
        assert _ask(f"unix:{path}", "log", 1.0).result().outputs["f"].float_val == [0.5]
    finally:
        server.stop(grace=0)


def test_stopping_lets_calls_in_flight_end(models: Path):
    """A call that runs when the server stops gets its response; a later one does not."""
    server = EmbeddedServer(ServerOptions(port=0, model_name="slow", model_base_path=str(models / "slow")))
    server.start()
    _ask(server.address, "slow", 1.0).result()
    call = _ask(server.address, "slow", 1000.0)
    _wait_until(lambda: server._manager.versions("slow")[0].uses > 0)
    server.stop(grace=60)
    assert call.result().outputs["y"].float_val == [1000]
    assert _ask(server.address, "slow", 1.0).code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "steps", "grace"), [(signal.SIGTERM, 1000.0, 10.0), (signal.SIGINT, 1e8, 0.5)])
def test_a_signal_ends_the_launched_server(models: Path, sent: signal.Signals, steps: float, grace: float):
    """Ctrl-C and SIGTERM end the process after the calls in flight, and within the grace if one would run for hours."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(models / "slow"), str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    _ask(address, "slow", 1.0).result()
    call = _ask(address, "slow", steps)
    time.sleep(0.2)  # until it has begun
    process.send_signal(sent)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rest == f"stopping: calls in flight have {grace:g} s to end\n"
    assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    assert "loaded model=slow version=1 seconds=" in errors


def test_a_process_that_does_not_end_in_time_is_ended(monkeypatch: pytest.MonkeyPatch):
    """Whatever still runs after the grace is cut off with the process."""
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    monkeypatch.setattr(os, "_exit", ended.put)
    launcher._end_within(0.01)
    assert ended.get(timeout=60) == launcher.OVERDUE


def test_calls_that_come_during_a_stop_are_refused_with_a_status(models: Path, monkeypatch: pytest.MonkeyPatch):
    """The port stays open for a moment after the last call, so that a call on its way is not left without a status."""
    server = EmbeddedServer(ServerOptions(port=0, model_name="log", model_base_path=str(models / "log")))
    server.start()
    late = []

    def linger(seconds: float) -> None:
        call = _ask(server.address, "log", 1.0)
        late.append((seconds, call.code(), call.details()))

    monkeypatch.setattr(front_end, "time", SimpleNamespace(sleep=linger))
    server.stop(grace=30)
    assert late == [(front_end.LINGER, grpc.StatusCode.UNAVAILABLE, "the server is stopping")]


def test_the_callers_deadline_is_the_sessions_timeout(models: Path, monkeypatch: pytest.MonkeyPatch):
    """From the wire to the runtime: a call is computed within what is left of its deadline, or without a limit."""
    deadlines, ends, lateness = [], [], []
    deadline_of, run = methods._deadline, LoadedSession.run

    def record_deadline(context):
        deadlines.append((deadline_of(context), time.monotonic()))
        return deadlines[-1][0]

    def record(session, feeds, fetches, timeout, **options):
        now = time.monotonic()
        ends.append(None if timeout is None else now + timeout)
        lateness.append(now - deadlines[-1][1])
        return run(session, feeds, fetches, timeout, **options)

    monkeypatch.setattr(methods, "_deadline", record_deadline)
    monkeypatch.setattr(LoadedSession, "run", record)
    server = EmbeddedServer(ServerOptions(port=0, model_name="log", model_base_path=str(models / "log")))
    server.start()
    try:
        _ask(server.address, "log", 1.0, timeout=1000).result()
        _ask(server.address, "log", 1.0, timeout=None).result()
    finally:
        server.stop(grace=0)
    (deadline, _), (none, _) = deadlines
    assert deadline is not None
    # How much gRPC rounds a timeout up on its way is its own affair: what it says here has to be what the session gets.
    assert deadline <= ends[0] <= deadline + lateness[0]
    assert (none, ends[1]) == (None, None)


def test_a_directory_of_models_is_served_whole(models: Path, tmp_path: Path):
    """Every model below the directory is served under its directory's name."""
    shutil.copytree(models / "log", tmp_path / "log")
    shutil.copytree(models / "log" / "1", tmp_path / "other" / "5")
    server = EmbeddedServer(ServerOptions(port=0, directory=tmp_path))
    server.start()
    try:
        assert server.available() == {"log": [1], "other": [5]}
        assert _ask(server.address, "other", 1.0).result().model_spec.version.value == 5
    finally:
        server.stop(grace=0)
