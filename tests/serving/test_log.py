"""The log of the embedded server: one line an event, for people or for programs."""

from __future__ import annotations

import http.client
import json
import logging
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from gradwire_serving import EmbeddedServer, ServerOptions
from gradwire_serving._core import event, log
from gradwire_serving._launch import launcher

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def _two_calls_a_way(models: Path, **options: Any) -> None:
    """Serve; a call that is answered and one that is refused, over gRPC and over REST."""
    server = EmbeddedServer(
        ServerOptions(port=0, rest_api_port=-1, model_name="log", model_base_path=str(models / "log"), **options)
    )
    server.start()
    try:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "log"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
        with grpc.insecure_channel(server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            stub.Predict(request, timeout=60)
            request.model_spec.name = "nope"
            with pytest.raises(grpc.RpcError):
                stub.Predict(request, timeout=60)
        for name in ("log", "nope"):
            connection = http.client.HTTPConnection(server.rest_address, timeout=60)
            connection.request("POST", f"/v1/models/{name}:predict", b'{"instances": [[1.0]]}')
            connection.getresponse().read()
            connection.close()
    finally:
        server.stop(grace=1)


def test_calls_as_json(models: Path, capsys: pytest.CaptureFixture[str]):
    """Each line is an object with the time, the level, the event and its fields; each call has one, of both ways."""
    with launcher._log_to_stderr("json"):
        _two_calls_a_way(models, log_requests=True)
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(isinstance(entry["time"], float) and entry["level"] == "info" for entry in entries)
    assert [entry["event"] for entry in entries] == ["loaded", *["request"] * 4, "unloaded"]
    assert {"model": "log", "version": 1}.items() <= entries[0].items()
    calls = entries[1:-1]
    assert [(call["method"], call["code"]) for call in calls] == [
        (PREDICT, "OK"),
        (PREDICT, "NOT_FOUND"),
        ("POST /v1/models/log:predict", "OK"),
        ("POST /v1/models/nope:predict", "NOT_FOUND"),
    ]
    assert all(0 < call["seconds"] < 60 for call in calls)


def test_calls_are_not_logged_unless_that_is_switched_on(models: Path, capsys: pytest.CaptureFixture[str]):
    """As text, and without --log_requests: what happens to models alone, with the time in UTC."""
    with launcher._log_to_stderr("text"):
        _two_calls_a_way(models)
    first, last = capsys.readouterr().err.splitlines()
    assert first.split()[1:5] == ["INFO", "loaded", "model=log", "version=1"]
    assert last.endswith("INFO unloaded model=log version=1")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_event_is_one_line(log_format: str, capsys: pytest.CaptureFixture[str]):
    """Whatever its fields hold: a caller cannot write a line of its own into the log."""
    with launcher._log_to_stderr(log_format):
        event(logging.WARNING, "problem", model="a\nERROR forged", quote='say "x"', number=0.123456, empty="")
        log.info("plain\ntext")
    lines = capsys.readouterr().err.splitlines()
    if log_format == "json":
        assert json.loads(lines[0])["model"] == "a\nERROR forged"
        assert json.loads(lines[1])["text"] == "plain\ntext"
    else:
        assert lines[0].endswith(r'problem model="a\nERROR forged" quote="say \"x\"" number=0.123 empty=""')
