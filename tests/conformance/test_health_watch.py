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


def test_watch_is_behind_the_flag(plain: grpc.Channel):
    """Without the flag Watch is UNIMPLEMENTED, as Check is."""
    with pytest.raises(grpc.RpcError) as caught:
        next(health_pb2_grpc.HealthStub(plain).Watch(health_pb2.HealthCheckRequest(), timeout=60))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")


def test_services_are_known_by_their_short_names(with_flags: grpc.Channel):
    """Check knows "PredictionService" and not the full name; Watch says SERVICE_UNKNOWN of an unknown one."""
    stub = health_pb2_grpc.HealthStub(with_flags)
    for name in ("", "PredictionService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService"), timeout=60)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "service name unknown")
    stream = stub.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=60)
    assert next(stream).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    stream.cancel()
