"""The streaming half of grpc.health.v1, which a record of single answers does not hold."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def test_watch_answers_at_once_and_stays_open(with_flags: grpc.Channel):
    """The first answer is SERVING, and the stream ends only when the caller's deadline does."""
    stream = health_pb2_grpc.HealthStub(with_flags).Watch(health_pb2.HealthCheckRequest(), timeout=1)
    answers = []
    try:
        answers.extend(answer.status for answer in stream)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert answers == [] or answers == [health_pb2.HealthCheckResponse.SERVING]
    assert stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED
