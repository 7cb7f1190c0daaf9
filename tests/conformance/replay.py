"""Recorded calls, sent again: what the record of a case means, and when a response is the recorded one.

Compared exactly: status code, message (counters in the names of graph nodes and functions normalised), names, dtypes,
shapes, the field that carries the values, their number, integers, bools, halves, strings, model spec, metadata, status.
Floating-point values may differ by four units in the last place: `log` and `exp` differ so between processors.

A case that has ``different`` is answered differently on purpose, for that reason; one with ``skipped`` does not apply;
one with ``test`` is a fact and no call, held by the test of that name.
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
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

RECORDS = Path(__file__).with_name("records")
MESSAGES: dict[str, tuple[Any, Any]] = {
    "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
    "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
    "MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    "GetModelMetadata": (
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
    ),
    "HandleReloadConfigRequest": (
        model_management_pb2.ReloadConfigRequest,
        model_management_pb2.ReloadConfigResponse,
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


def load(name: str) -> dict[str, Any]:
    """Return a file of records."""
    return json.loads((RECORDS / f"{name}.json").read_text())


def calls(name: str, *more: Any) -> list[Any]:
    """Return the calls of a file as a test's parameters, each after ``more``; those that differ are expected to."""
    return [
        pytest.param(
            *more,
            case,
            id=f"{name}-{case['name']}",
            marks=[pytest.mark.xfail(reason=case["different"], strict=True)] if "different" in case else [],
        )
        for case in load(name)["cases"]
        if "rpc" in case
    ]


def check(channel: grpc.Channel, case: dict[str, Any]) -> None:
    """Make a recorded call; an AssertionError where the response is not the recorded one."""
    code, message, response = _call(channel, case)
    expected = case.get("error", {"code": "OK", "message": ""})
    assert (code, _normalised(message)) == (expected["code"], _normalised(expected["message"]))
    if "response_brief" in case:
        _compare_briefly(predict_pb2.PredictResponse.FromString(response), case["response_brief"])
    elif "response_wire_b64" in case:
        assert response == base64.b64decode(case["response_wire_b64"])
    elif "response" in case:
        _compare(case["rpc"].rpartition("/")[2], response, case["response"])


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
    if "rows" in case:
        return column(case["model"], case["x"], case["rows"]).SerializeToString()
    message = MESSAGES[case["rpc"].rpartition("/")[2]][0]
    return json_format.ParseDict(case["request"], message()).SerializeToString()


def column(model: str, x: float, rows: int = 1, columns: int = 1) -> predict_pb2.PredictRequest:
    """Return a Predict request of one value in every place of an array."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (rows, columns):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = np.full((rows, columns), x, np.float32).tobytes()
    return request


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
    expected = _written_out(recorded)
    for alias in sorted(expected.get("outputs", {}).keys() & got.get("outputs", {}).keys()):
        _compare_floats(got["outputs"][alias], expected["outputs"][alias])
    for answer in (got, expected):  # whose order is that of a hash table there
        answer.get("metric", []).sort(key=lambda metric: metric["name"])
    assert _names_normalised(got) == _names_normalised(expected)


def _written_out(record: Any) -> Any:
    """Return a copy, in which a value that is recorded once for all places is in all of them."""
    if isinstance(record, list):
        return [_written_out(each) for each in record]
    if not isinstance(record, dict):
        return record
    if record.keys() == {"value", "times"}:
        return [record["value"]] * record["times"]
    return {key: _written_out(value) for key, value in record.items()}


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
    """Takes away what counts, as in __inference__go_919, and the node of an error: of several, any may fail first.

    And the mark, another in every process, with which protobuf begins a text that is not to be parsed.
    """
    text = re.sub(r"goo\.gle/debug\w+ *\n?", "", text)
    text = re.sub(r"(__inference_\w+?|PartitionedCall)_\d+\b", r"\1", text)
    return re.sub(r"\{\{node [^}]*\}\}", "{{node}}", text)
