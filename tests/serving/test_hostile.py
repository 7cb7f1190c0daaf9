"""Callers that mean harm, or are broken: each of these once took the server away from the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from gradwire_serving import EmbeddedServer, ServerOptions
from gradwire_serving._grpc import health, methods
from gradwire_serving._grpc.services import PredictionService

PREDICT = "/tensorflow.serving.PredictionService/Predict"
PATIENCE = 60.0  # seconds until a response that does not come counts as a failure


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[EmbeddedServer]:
    """A server of the logarithm that runs few calls at once."""
    server = EmbeddedServer(
        ServerOptions(
            port=0,
            model_name="log",
            model_base_path=str(models / "log"),
            grpc_max_threads=4,
            enable_grpc_healthcheck_service=True,
        )
    )
    server.start()
    yield server
    server.stop(grace=0)


@pytest.fixture
def channel(server: EmbeddedServer) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def _request(name: str = "log", x: object = 1.0) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.full((1, 1), x, np.float32)))
    return request


def _ask(channel: grpc.Channel) -> list[float]:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return list(stub.Predict(_request(), timeout=PATIENCE).outputs["f"].float_val)


def _headers_only(channel: grpc.Channel, count: int) -> tuple[threading.Event, list[grpc.Call]]:
    done = threading.Event()

    def no_message() -> Iterator[bytes]:
        done.wait()
        yield from ()

    method = channel.stream_unary(PREDICT)
    return done, [method.future(no_message(), timeout=PATIENCE) for _ in range(count)]


def _wait_until(condition: object) -> None:
    waiting = threading.Event()
    while not condition():  # the test's own timeout ends it
        waiting.wait(0.01)


def _bodies(server: EmbeddedServer) -> methods.Bodies:
    return server._grpc._calls.bodies


def test_streams_without_a_message_starve_nobody(server: EmbeddedServer, channel: grpc.Channel):
    """Sixty-six calls of headers alone hold no worker of the three that there are."""
    done, calls = _headers_only(channel, 66)
    try:
        _wait_until(lambda: len(_bodies(server)._waiting) == 66)
        assert [_ask(channel) for _ in range(6)] == [[0.5]] * 6
    finally:
        done.set()
        for call in calls:
            call.cancel()
    _wait_until(lambda: not _bodies(server)._waiting)


def test_a_message_that_does_not_come_is_given_up(models: Path, monkeypatch: pytest.MonkeyPatch):
    """After its time limit a call of headers alone is cancelled; where too many wait, the oldest is at once."""
    monkeypatch.setattr(methods, "BODY_TIMEOUT", 0.2)
    server = EmbeddedServer(ServerOptions(port=0, model_name="log", model_base_path=str(models / "log")))
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            done, (late,) = _headers_only(channel, 1)
            assert late.code() is grpc.StatusCode.CANCELLED
            done.set()
            monkeypatch.setattr(_bodies(server), "_timeout", PATIENCE)
            monkeypatch.setattr(_bodies(server), "_limit", 3)
            done, (oldest,) = _headers_only(channel, 1)
            _wait_until(lambda: len(_bodies(server)._waiting) == 1)
            others_done, others = _headers_only(channel, 3)
            assert oldest.code() is grpc.StatusCode.CANCELLED
            assert [call.done() for call in others] == [False] * 3
            assert _ask(channel) == [0.5]
            done.set()
            others_done.set()
            for call in others:
                call.cancel()
    finally:
        server.stop(grace=0)


def test_a_call_without_a_message_has_a_status(channel: grpc.Channel):
    """A stream that is closed before its message is INTERNAL, as bytes that do not parse are."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(PREDICT)(iter(()), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_watches_that_are_cancelled_at_once_block_nobody(server: EmbeddedServer, channel: grpc.Channel):
    """Three hundred Watches, cancelled from many threads: health and calls are answered, and no Watch is left."""
    stub = health_pb2_grpc.HealthStub(channel)

    def watch(_: int) -> None:
        stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE).cancel()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(watch, range(300)))
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == 1
    assert _ask(channel) == [0.5]


def test_watches_have_a_limit(channel: grpc.Channel, monkeypatch):
    """One Watch too many is refused, and hinders no other; one that ends makes room."""
    monkeypatch.setattr(health, "MAX_WATCHES", 2)
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="nope")
    watches = [stub.Watch(request, timeout=PATIENCE) for _ in range(2)]
    assert [next(watch).status for watch in watches] == [3, 3]  # SERVICE_UNKNOWN
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.Watch(request, timeout=PATIENCE))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for watch in watches:
        watch.cancel()

    def has_room() -> bool:
        try:
            return next(stub.Watch(request, timeout=PATIENCE)).status == 3
        except grpc.RpcError:
            return False

    _wait_until(has_room)


def test_an_endless_varint_is_refused_at_once(channel: grpc.Channel):
    """A megabyte that says of every byte that another follows took 24 s to read; now it is an error of its input."""
    request = _request()
    tensor = request.inputs["x"]
    tensor.dtype, tensor.tensor_content = tf.string.as_datatype_enum, b"\xff" * 1_000_000
    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=PATIENCE)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "tensor parsing error: x",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n" * 20_000, "Servable not found for request: Latest(nnnnnnn"),
        ("a\x1b[31m\x00\x7f\x9b\u2028b", r"Servable not found for request: Latest(a\x1b[31m\x00\x7f\x9b\u2028b)"),
        ("\n", "Servable not found for request: Latest(\n)"),
        ("ü" * 20_000, "Servable not found for request: Latest(üüü"),
    ],
    ids=["long", "control characters", "line feed", "long and not ASCII"],
)
def test_what_is_echoed_can_be_sent_and_printed(channel: grpc.Channel, name: str, text: str):
    """A name of 20,000 characters comes back cut, and its control characters as escapes."""
    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(_request(name), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details().startswith(text)
    assert len(caught.value.details()) < 6100


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ZeroDivisionError("/srv/secret.py"), grpc.StatusCode.INTERNAL, "the server failed; its log has the cause"),
        (MemoryError(), grpc.StatusCode.RESOURCE_EXHAUSTED, "the server has not enough memory for this call now"),
    ],
    ids=["a defect", "no memory"],
)
def test_a_defect_is_a_status_without_a_path(
    models: Path, monkeypatch, caplog: pytest.LogCaptureFixture, error: Exception, code: grpc.StatusCode, text: str
):
    """No exception reaches a caller as UNKNOWN, nor with what it says about the server; the log has it."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PredictionService, "predict", fail)
    server = EmbeddedServer(ServerOptions(port=0, model_name="log", model_base_path=str(models / "log")))
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
            _ask(channel)
    finally:
        server.stop(grace=0)
    assert (caught.value.code(), caught.value.details()) == (code, text)
    assert ("secret.py" in caplog.text) == (code is grpc.StatusCode.INTERNAL)


@pytest.mark.slow
def test_calls_wait_for_a_worker_up_to_a_bound(models: Path, monkeypatch):
    """Where the number of threads is the server's choice, more calls wait; one beyond the bound is refused."""
    monkeypatch.setattr("gradwire_serving._config.options.MAX_WAITING", 4)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    server = EmbeddedServer(ServerOptions(port=0, model_name="slow", model_base_path=str(models / "slow")))
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            predict(_request("slow"), timeout=PATIENCE)
            calls = [predict.future(_request("slow", 700), timeout=PATIENCE) for _ in range(9)]
            codes = [call.code() for call in calls]
    finally:
        server.stop(grace=0)
    assert codes.count(grpc.StatusCode.OK) == 7
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 2
