"""Requests and responses: between NumPy arrays and the messages of ``gradwire._wire.proto``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from gradwire._errors import ServerError, printable
from gradwire._package import Signature, TensorSpec, read_signatures
from gradwire._wire import proto
from gradwire._wire.address import Address
from gradwire._wire.call import Call, Prediction, VersionStatus
from gradwire._wire.tensor import MOST_BYTES, decode, encode

_STATES: Final = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_CODES: Final[dict[int, str]] = {code.value[0]: code.name for code in grpc.StatusCode}


def predict_request(address: Address, call: Call, rows: slice | None = None, version: int | None = None) -> bytes:
    """Write a PredictRequest.

    Args:
        address: the model, and its version or label where it names one.
        call: what to request.
        rows: those of the call that go into this message; None for all.
        version: instead of the address's version or label.
    """
    request = proto.PredictRequest(output_filter=call.outputs or ())
    fill_spec(request.model_spec, address, version)
    request.model_spec.signature_name = call.signature.name
    for name, array in call.inputs.items():
        encode(array if rows is None else array[rows], call.signature.inputs[name].dtype, request.inputs[name])
    return request.SerializeToString()


def read_prediction(data: bytes, call: Call, rows: int | None) -> Prediction:
    """Read a PredictResponse; the arrays may be read-only.

    Args:
        data: the message.
        call: what was requested; other outputs are not even read.
        rows: how many of its rows were sent; None where it has none.

    Raises:
        ServerError: it is not one, or holds a tensor of another shape, or whose values do not fit its shape.
    """
    response = _parse(proto.PredictResponse, data)
    specs = call.signature.outputs
    outputs: dict[str, NDArray[Any]] = {}
    room = len(data) + MOST_BYTES
    for name in specs if call.outputs is None else call.outputs:
        if name in response.outputs:
            outputs[name] = decode(response.outputs[name], name, _expected_shape(specs[name], rows))
            room -= outputs[name].nbytes
        if room < 0:
            text = f"the response of {len(data):,} bytes stands for more than {MOST_BYTES:,}: give fewer rows at once"
            raise ServerError(text, code="INTERNAL")
    return Prediction(outputs, response.model_spec.version.value)


def _expected_shape(spec: TensorSpec, rows: int | None) -> tuple[int | None, ...] | None:
    if spec.any_rank:
        return None
    return (rows, *spec.row_shape) if spec.is_batch_first else spec.shape


def metadata_request(address: Address) -> bytes:
    """Write a request for the signatures."""
    request = proto.MetadataRequest(metadata_field=[proto.SIGNATURE_DEF])
    fill_spec(request.model_spec, address)
    return request.SerializeToString()


def read_metadata(data: bytes, address: Address) -> Mapping[str, Signature]:
    """Read the signatures, by name.

    Raises:
        ServerError: it holds none.
    """
    response = _parse(proto.MetadataResponse, data)
    if proto.SIGNATURE_DEF not in response.metadata:
        raise ServerError(f"{address} returned no signatures, expected some", code="INTERNAL")
    return read_signatures(_parse(proto.SignatureDefMap, response.metadata[proto.SIGNATURE_DEF].value).signature_def)


def read_version(data: bytes, address: Address) -> Address:
    """Read which version's signatures these are, and return its address.

    Raises:
        ServerError: it does not say.
    """
    spec = _parse(proto.MetadataResponse, data).model_spec
    if not spec.HasField("version"):
        raise ServerError(f"{address} does not say which version it is: give one", code="INTERNAL")
    return replace(address, version=int(spec.version.value), label=None)


def status_request(address: Address) -> bytes:
    """Write a request for the state of every version."""
    request = proto.StatusRequest()
    fill_spec(request.model_spec, address)
    return request.SerializeToString()


def read_status(data: bytes) -> list[VersionStatus]:
    """Read the state of every version, the newest first."""
    return [
        VersionStatus(
            version=entry.version,
            state=_STATES.get(entry.state, str(entry.state)),
            error=_shown(entry.status),
        )
        for entry in _parse(proto.StatusResponse, data).model_version_status
    ]


def fill_spec(spec: Any, address: Address, version: int | None = None) -> None:
    """Write which model, and which version of it."""
    spec.name = address.model
    number = address.version if version is None else version
    if number is not None:
        spec.version.value = number
    elif address.label is not None:
        spec.version_label = address.label


def _parse(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError as error:
        text = f"the response cannot be parsed ({error}), expected TensorFlow Serving's: is that what listens there?"
        raise ServerError(text, code="INTERNAL") from error


def _shown(status: Any) -> str:
    code = _CODES.get(status.error_code, str(status.error_code))
    return printable(f"{code}: {status.error_message}") if status.error_code else ""
