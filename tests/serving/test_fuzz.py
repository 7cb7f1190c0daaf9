"""Messages that nobody would send: whatever comes, there is a status, and the next good call is answered right.

Hypothesis makes them, the same ones at every run; ``make soak`` makes 100,000 of them in place of some hundreds.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from gradwire_serving import EmbeddedServer, ServerOptions

pytest.importorskip("hypothesis", reason="it makes the messages")
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

MESSAGES = int(os.environ.get("GRADWIRE_FUZZ_MESSAGES", "500"))  # of all tests of this file together
GUIDED = 10  # times as many of those that are not sent: thousands a second
PATIENCE = 60.0  # seconds until a response that does not come counts as a failure
PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
METHODS = {
    f"{PREDICTION}Predict": predict_pb2.PredictRequest,
    f"{PREDICTION}GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    f"{PREDICTION}Classify": classification_pb2.ClassificationRequest,
    f"{MODEL}GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
}
# What a call may end with; INTERNAL with this text would be a defect of the server.
FAULT = "the server failed"
REST_STATUSES = {"200", "400", "404", "429", "501"}

names = st.sampled_from(["x", "log", "types", "", "serving_default", "value", "f"]) | st.text(max_size=20)
sizes = st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**62, 2**63 - 1, -(2**63)]) | st.integers(0, 8)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A TensorProto: any dtype, any shape, any fields, that agree or not."""
    tensor = tf.compat.v1.make_tensor_proto(np.ones((1, 1), np.float32))
    if draw(st.booleans()):
        return tensor
    tensor.Clear()
    tensor.dtype = draw(st.integers(0, 130))
    for size in draw(st.lists(sizes, max_size=4) | st.just([1]).map(lambda one: one * 300)):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = draw(st.binary(max_size=64))
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    tensor.int_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)))
    tensor.half_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=8), max_size=3)))
    return tensor


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """A method, and the bytes of its message: well formed, cut off, with bytes changed, or random."""
    method = draw(st.sampled_from([f"{PREDICTION}Predict"] * 3 + list(METHODS)))
    message = METHODS[method]()
    if draw(st.integers(0, 9)):
        message.model_spec.name = draw(st.sampled_from(["log", "types"]) | names)
    if draw(st.booleans()):
        message.model_spec.version.value = draw(st.sampled_from([1, 0, -1, 2**63 - 1]))
    if isinstance(message, predict_pb2.PredictRequest):
        message.model_spec.signature_name = draw(st.just("") | names)
        for name, tensor in draw(st.dictionaries(st.just("x") | names, tensors(), max_size=3)).items():
            message.inputs[name].CopyFrom(tensor)
        message.output_filter.extend(draw(st.lists(names, max_size=2)))
    data = message.SerializeToString()
    match draw(st.integers(0, 5)):
        case 0:
            return method, data[: draw(st.integers(0, len(data)))]
        case 1:
            at = draw(st.integers(0, len(data)))
            return method, data[:at] + draw(st.binary(max_size=8)) + data[at + draw(st.integers(0, 4)) :]
        case 2:
            return method, draw(st.binary(max_size=64))
        case _:
            return method, data


numbers = st.floats() | st.integers(-(2**70), 2**70)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=8) | st.just({"b64": "AA=="})
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3), max_leaves=12
)
documents = st.fixed_dictionaries(
    {}, optional={"instances": values, "inputs": values, "signature_name": names | leaves, "examples": values}
)
bodies = st.one_of(
    documents.map(lambda document: json.dumps(document).encode()),
    st.tuples(documents, st.integers(0, 60), st.binary(max_size=6)).map(
        lambda parts: json.dumps(parts[0]).encode()[: parts[1]] + parts[2]
    ),
    st.binary(max_size=64),
    st.tuples(st.sampled_from([b"[", b'{"a":', b'{"inputs":[']), st.integers(1, 3000)).map(
        lambda deep: deep[0] * deep[1]
    ),
)


def _many(share: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=max(10, int(MESSAGES * share)),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[EmbeddedServer]:
    """A server of two models, with batching, over gRPC and REST."""
    server = EmbeddedServer(
        ServerOptions(port=0, rest_api_port=-1, directory=models.parent / _links(models), enable_batching=True)
    )
    server.start()
    yield server
    server.stop(grace=0)


def _links(models: Path) -> str:
    """A directory of the models that load."""
    folder = models.parent / f"{models.name}-good"
    folder.mkdir()
    for name in ("log", "types"):
        (folder / name).symlink_to(models / name)
    return folder.name


@pytest.fixture(scope="module")
def channel(server: EmbeddedServer) -> Iterator[grpc.Channel]:
    """A connection to it."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def _request(x: float) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "log"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.full((1, 1), x, np.float32)))
    return request


def _good(channel: grpc.Channel) -> list[float]:
    method = channel.unary_unary(
        f"{PREDICTION}Predict",
        predict_pb2.PredictRequest.SerializeToString,
        predict_pb2.PredictResponse.FromString,
    )
    return list(method(_request(1.0), timeout=PATIENCE).outputs["f"].float_val)


@pytest.mark.slow
def test_every_message_has_a_status(channel: grpc.Channel):
    """OK or an error of gRPC's, none of them a fault of the server; afterwards a good call is answered right."""

    @_many(0.7)
    @given(requests())
    def send(request: tuple[str, bytes]) -> None:
        method, data = request
        call = channel.unary_unary(method).future(data, timeout=PATIENCE)
        assert call.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED), call.details()
        assert FAULT not in (call.details() or "")

    send()
    assert _good(channel) == [0.5]


@pytest.mark.slow
def test_no_line_of_code_fails_a_message(models: Path, server: EmbeddedServer, tmp_path: Path):
    """Those that libFuzzer makes to reach as many lines as it can: a status each, and both readers read the same."""
    pytest.importorskip("atheris", reason="it has no build for this machine")
    for number, (method, data) in enumerate([(0, _request(1.0).SerializeToString()), (5, b'{"inputs": [[1.0]]}')]):
        (tmp_path / str(number)).write_bytes(bytes([method]) + data)
    program = [sys.executable, str(Path(__file__).with_name("fuzz_guided.py")), models.parent / f"{models.name}-good"]
    done = subprocess.run([*program, tmp_path, str(GUIDED * MESSAGES)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {GUIDED * MESSAGES} runs" in done.stderr


def test_every_body_has_a_status(server: EmbeddedServer, channel: grpc.Channel):
    """One of HTTP's that the API has, never 500, for any JSON and what is none."""
    rest = server._rest
    assert rest is not None

    @_many(0.3)
    @given(bodies, st.sampled_from(["log", "types"]), st.sampled_from(["predict", "classify", "regress"]))
    def send(body: bytes, model: str, method: str) -> None:
        statuses: list[str] = []
        environ = {
            "REQUEST_METHOD": "POST",
            "REQUEST_URI": f"/v1/models/{model}:{method}",
            "wsgi.input": io.BytesIO(body),
        }
        (response,) = rest._application(environ, lambda status, _: statuses.append(status))
        assert statuses[0].split()[0] in REST_STATUSES, response

    send()
    assert _good(channel) == [0.5]
