"""How many calls run at once, and what a deadline stops."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from gradwire_serving import EmbeddedServer, ServerOptions
from gradwire_serving._core.session import LoadedSession

pytestmark = pytest.mark.slow  # waits for calls that hold every thread


def _request(steps: float) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "slow"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[steps]], np.float32)))
    return request


@pytest.mark.parametrize(
    ("threads", "in_flight", "refused"), [(8, 7, 0), (8, 8, 1), (8, 64, 57), (128, 100, 0), (128, 200, 73)]
)
def test_one_call_fewer_than_the_threads_runs_at_once(
    models: Path, monkeypatch: pytest.MonkeyPatch, threads: int, in_flight: int, refused: int
):
    """With eight threads seven calls run; the others are RESOURCE_EXHAUSTED at once.

    The record has 128 of 200 with 128 threads: there a call ended while others still came.
    """
    end, run = threading.Event(), LoadedSession.run

    def wait(*arguments: Any, **options: Any) -> list[np.ndarray]:
        end.wait(60)
        return run(*arguments, **options)

    monkeypatch.setattr(LoadedSession, "run", wait)
    options = ServerOptions(port=0, model_name="slow", model_base_path=str(models / "slow"), grpc_max_threads=threads)
    server = EmbeddedServer(options)
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            calls = [predict.future(_request(1), timeout=120) for _ in range(in_flight)]
            while sum(call.done() for call in calls) < refused:
                threading.Event().wait(0.01)
            end.set()
            codes = Counter(call.code() for call in calls)
            texts = {call.details() for call in calls if call.code() is not grpc.StatusCode.OK}
    finally:
        end.set()
        server.stop(grace=0)
    assert codes == Counter({grpc.StatusCode.OK: in_flight - refused, grpc.StatusCode.RESOURCE_EXHAUSTED: refused})
    assert texts <= {"Server Threadpool Exhausted"}


def test_a_deadline_stops_the_computation(models: Path):
    """A call that would run for hours is over on the server soon after the caller's deadline."""
    options = ServerOptions(port=0, model_name="slow", model_base_path=str(models / "slow"))
    server = EmbeddedServer(options)
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            with pytest.raises(grpc.RpcError) as caught:
                predict(_request(1e8), timeout=0.3)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = threading.Event()
        version = server._manager.versions("slow")[0]
        for _ in range(600):
            if not version.uses:
                break
            waiting.wait(0.05)
        assert version.uses == 0
    finally:
        server.stop(grace=0)


def test_a_cancellation_stops_no_computation(models: Path):
    """A caller that cancels, with no deadline passed, is gone; its call is computed to the end, as recorded."""
    options = ServerOptions(port=0, model_name="slow", model_base_path=str(models / "slow"), grpc_max_threads=2)
    server = EmbeddedServer(options)
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            predict(_request(1), timeout=60)
            call = predict.future(_request(1000))
            version, waiting = server._manager.versions("slow")[0], threading.Event()
            while not version.uses:
                waiting.wait(0.01)
            call.cancel()
            assert call.code() is grpc.StatusCode.CANCELLED
            with pytest.raises(grpc.RpcError) as caught:  # the one thread still computes
                predict(_request(1), timeout=60)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            while version.uses:
                waiting.wait(0.01)
            assert predict(_request(1), timeout=60).outputs["y"].float_val == [1]
    finally:
        server.stop(grace=0)
