"""The streaming half of grpc.health.v1, which a record of single responses does not hold."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

pytestmark = pytest.mark.slow  # waits for a stream that must stay open


def test_watch_responds_at_once_and_stays_open(with_flags: grpc.Channel):
    """The first response is SERVING; the stream then ends only with the caller's deadline."""
    stream = health_pb2_grpc.HealthStub(with_flags).Watch(health_pb2.HealthCheckRequest(), timeout=2)
    assert next(stream).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
