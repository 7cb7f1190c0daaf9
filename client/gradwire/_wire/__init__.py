"""Bytes: calls and answers as the messages of TensorFlow Serving, and the address that they go to."""

from gradwire._wire.address import TLS, Address, as_target
from gradwire._wire.call import Call, Prediction, VersionStatus, count_rows
from gradwire._wire.messages import (
    metadata_request,
    predict_request,
    read_metadata,
    read_prediction,
    read_status,
    status_request,
)

__all__ = [
    "TLS",
    "Address",
    "Call",
    "Prediction",
    "VersionStatus",
    "as_target",
    "count_rows",
    "metadata_request",
    "predict_request",
    "read_metadata",
    "read_prediction",
    "read_status",
    "status_request",
]
