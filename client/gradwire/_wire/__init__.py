"""Bytes: calls and responses as the messages of TensorFlow Serving, and the address that they go to."""

from gradwire._wire.address import TLS, Address, as_metadata, as_target
from gradwire._wire.call import Call, Prediction, VersionStatus
from gradwire._wire.codec import PredictCodec
from gradwire._wire.messages import (
    metadata_request,
    read_metadata,
    read_status,
    read_version,
    status_request,
)

__all__ = [
    "TLS",
    "Address",
    "Call",
    "PredictCodec",
    "Prediction",
    "VersionStatus",
    "as_metadata",
    "as_target",
    "metadata_request",
    "read_metadata",
    "read_status",
    "read_version",
    "status_request",
]
