"""Every recorded call on a server that stays as it is, sent again over a socket; see ``replay``."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tests.conformance.replay import LONG_ENOUGH, calls, check, column, load

SERVERS = {
    "predict": "plain",
    "metadata_status": "plain",
    "signature_defaults": "plain",
    "classify_regress_multiinference": "plain",
    "health_reflection": "plain",
    "message_size": "plain",
    "concurrency_128_threads": "plain",
    "concurrency_default_threads": "plain",
    "health_reflection_flag_on": "with_flags",
    "tensor_content": "with_flags",
    "xla_enabled": "plain",
    "xla_default_flags": "plain",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "case"), [each for name, fixture in SERVERS.items() for each in calls(name, fixture)]
)
def test_recorded_call_is_answered_as_recorded(server: str, case: dict[str, Any], request: pytest.FixtureRequest):
    """The embedded server responds to a recorded request as TensorFlow Serving did."""
    check(request.getfixturevalue(server), case)


def test_the_records_hold_every_case():
    """No record got lost: 107 cases of Predict and 22 of metadata and status."""
    assert (len(load("predict")["cases"]), len(load("metadata_status")["cases"])) == (107, 22)


def test_a_response_has_no_metadata(plain: grpc.Channel):
    """Neither before nor after the message, as recorded in signature_defaults."""
    method = plain.unary_unary("/tensorflow.serving.PredictionService/Predict")
    _, call = method.with_call(column("log", 1.0).SerializeToString(), timeout=LONG_ENOUGH)
    assert (list(call.initial_metadata()), list(call.trailing_metadata())) == ([], [])
