"""Server reflection, by which tools learn the services."""

from __future__ import annotations

import base64

import grpc
import pytest
from tests.conformance.replay import load

V1ALPHA = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
LIST_SERVICES = b"\x3a\x00"
TIMEOUT = 60.0  # seconds


def _recorded(name: str) -> list[bytes]:
    (case,) = (case for case in load(name)["cases"] if case["name"] == "reflection_v1alpha_list_services")
    return [base64.b64decode(response) for response in case["responses_b64"]]


@pytest.mark.parametrize(
    ("server", "record"), [("plain", "health_reflection"), ("with_flags", "health_reflection_flag_on")]
)
def test_services_are_listed_as_recorded(server: str, record: str, request: pytest.FixtureRequest):
    """The bytes of the list are the recorded ones, with the health service behind its flag."""
    method = request.getfixturevalue(server).stream_stream(V1ALPHA)
    assert list(method(iter([LIST_SERVICES]), timeout=TIMEOUT)) == _recorded(record)


def test_v1_is_offered_too(plain: grpc.Channel):
    """Newer tools ask for v1 first; its messages are the same."""
    assert list(plain.stream_stream(V1)(iter([LIST_SERVICES]), timeout=TIMEOUT)) == _recorded("health_reflection")


def test_descriptors_are_returned_with_what_they_import(plain: grpc.Channel):
    """The file of a symbol, or by its name; an unknown one is NOT_FOUND, and the stream goes on."""
    symbol = b"tensorflow.serving.PredictionService"
    file = b"tensorflow_serving/apis/model.proto"
    requests = [
        b"\x22" + bytes([len(symbol)]) + symbol,
        b"\x1a" + bytes([len(file)]) + file,
        b"\x22\x04nope",
        b"\x32\x01x",
    ]
    first, second, unknown, other = plain.stream_stream(V1ALPHA)(iter(requests), timeout=TIMEOUT)
    assert b"tensorflow_serving/apis/prediction_service.proto" in first
    assert b"tensorflow/core/framework/tensor.proto" in first
    assert b"google/protobuf/wrappers.proto" in second
    assert unknown.endswith(b"\x3a\x15\x08\x05\x12\x11nope is not known")
    assert b"extensions are not described" in other
