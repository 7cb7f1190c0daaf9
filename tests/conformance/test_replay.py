"""Every recorded call, sent again over a socket: the response must be the recorded one.

Compared exactly: status code, message (counters in the names of graph nodes and functions normalised), names, dtypes,
shapes, the field that carries the values, their number, integers, bools, halves, strings, model spec, metadata, status.
Floating-point values may differ by four units in the last place: `log` and `exp` differ so between processors.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

RECORDS = Path(__file__).with_name("records")
SERVERS = {
    "predict": "plain",
    "metadata_status": "plain",
    "signature_defaults": "plain",
    "health_off": "plain",
    "health_on": "with_flags",
    "tensor_content": "with_flags",
}
MESSAGES: dict[str, tuple[Any, Any]] = {
    "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "GetModelMetadata": (
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
    ),
}
CONTENT = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_COMPLEX64": np.float32,
    "DT_COMPLEX128": np.float64,
}
FLOATING = {
    "float_val": np.float32,
    "double_val": np.float64,
    "scomplex_val": np.float32,
    "dcomplex_val": np.float64,
}
ULPS = 4
LONG_ENOUGH = 60.0  # seconds, for calls that are recorded without a deadline


def _cases() -> list[Any]:
    return [
        pytest.param(
            fixture,
            case,
            id=f"{name}-{case['name']}",
            marks=[pytest.mark.skip(reason=f"{case['name']}: {case['skipped']}")] if "skipped" in case else [],
        )
        for name, fixture in SERVERS.items()
        for case in json.loads((RECORDS / f"{name}.json").read_text())["cases"]
    ]


@pytest.mark.parametrize(("server", "case"), _cases())
def test_recorded_call_is_answered_as_recorded(server: str, case: dict[str, Any], request: pytest.FixtureRequest):
    """The embedded server responds to a recorded request as TensorFlow Serving did."""
    code, message, response = _call(request.getfixturevalue(server), case)
    expected = case.get("error", {"code": "OK", "message": ""})
    assert (code, _normalised(message)) == (expected["code"], _normalised(expected["message"]))
    if "response_brief" in case:
        _compare_briefly(predict_pb2.PredictResponse.FromString(response), case["response_brief"])
    elif "response_wire_b64" in case:
        assert response == base64.b64decode(case["response_wire_b64"])
    elif "response" in case:
        _compare(case["rpc"].rpartition("/")[2], response, case["response"])


def test_the_records_hold_every_case():
    """No record got lost: 107 cases of Predict and 22 of metadata and status, four of them facts and not calls."""
    counts = {name: len(json.loads((RECORDS / f"{name}.json").read_text())["cases"]) for name in SERVERS}
    assert (counts["predict"], counts["metadata_status"]) == (107, 22)
    assert sum(bool(case.marks) for case in _cases()) == 4


def _call(channel: grpc.Channel, case: dict[str, Any]) -> tuple[str, str, bytes]:
    compression = grpc.Compression.Gzip if "compression" in case else None
    try:
        response = channel.unary_unary(case["rpc"])(
            _request(case),
            timeout=case.get("timeout_s", LONG_ENOUGH),
            compression=compression,
            metadata=[tuple(pair) for pair in case.get("metadata", [])],
        )
    except grpc.RpcError as error:
        call: Any = error
        return call.code().name, call.details(), b""
    return "OK", "", response


def _request(case: dict[str, Any]) -> bytes:
    if "request_wire_b64" in case:
        return base64.b64decode(case["request_wire_b64"])
    if "request_brief" in case:
        return _eight_megabytes()
    message = MESSAGES[case["rpc"].rpartition("/")[2]][0]
    return json_format.ParseDict(case["request"], message()).SerializeToString()


def _eight_megabytes() -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "log"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (2_000_000, 1):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = np.ones(2_000_000, np.float32).tobytes()
    return request.SerializeToString()


def _compare_briefly(response: predict_pb2.PredictResponse, expected: dict[str, Any]) -> None:
    assert {
        alias: {
            "dtype": tensor.dtype,
            "shape": [dim.size for dim in tensor.tensor_shape.dim],
            "tensor_content_len": len(tensor.tensor_content),
            "float_val_len": len(tensor.float_val),
        }
        for alias, tensor in response.outputs.items()
    } == expected


def _compare(method: str, response: bytes, recorded: dict[str, Any]) -> None:
    message = MESSAGES[method][1]
    got = json_format.MessageToDict(message.FromString(response), preserving_proto_field_name=True)
    expected = json.loads(json.dumps(recorded))  # a copy to take from
    for alias in sorted(expected.get("outputs", {}).keys() & got.get("outputs", {}).keys()):
        _compare_floats(got["outputs"][alias], expected["outputs"][alias])
    assert _names_normalised(got) == _names_normalised(expected)


def _compare_floats(got: dict[str, Any], expected: dict[str, Any]) -> None:
    for field, dtype in FLOATING.items():
        if field in expected and field in got:
            _close(*(np.array(tensor.pop(field), dtype) for tensor in (got, expected)))
    dtype = CONTENT.get(expected["dtype"])
    if dtype and "tensor_content" in expected and "tensor_content" in got:
        contents = [base64.b64decode(tensor.pop("tensor_content")) for tensor in (got, expected)]
        _close(*(np.frombuffer(content, dtype) for content in contents))


def _close(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(one, other, rtol=ULPS * np.finfo(one.dtype).eps, atol=0)


def _names_normalised(message: Any) -> Any:
    return json.loads(_normalised(json.dumps(message, sort_keys=True)))


def _normalised(text: str) -> str:
    """Takes away what counts: __inference__go_919, StatefulPartitionedCall_1:0; and Slice_1: which node fails first."""
    text = re.sub(r"(__inference_\w+?|PartitionedCall)_\d+\b", r"\1", text)
    return re.sub(r"_\d+(?=[/}])", "", text)
