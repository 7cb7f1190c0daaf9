"""Requests made, answers read: between NumPy arrays and the messages of ``gradwire._proto``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np
from google.protobuf.message import DecodeError

from gradwire import _proto
from gradwire._errors import ServerError
from gradwire._tensor import decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._address import Address
    from gradwire._chunks import Block
    from gradwire._contract import Signature


def fill_spec(spec: Any, address: Address, version: int | None = None) -> None:
    """Fills a ModelSpec.

    Args:
        spec: the empty message.
        address: the model, and its version or label where one is asked for.
        version: instead of the address's version or label.
    """
    spec.name = address.model
    number = address.version if version is None else version
    if number is not None:
        spec.version.value = number
    elif address.label is not None:
        spec.version_label = address.label


def predict_request(
    signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None
) -> Any:
    """Makes a PredictRequest; its model is still to be named.

    Args:
        signature: what is called.
        inputs: in the signature's dtypes.
        outputs: the outputs wanted; None for all.
    """
    request = _proto.PredictRequest(output_filter=outputs or ())
    request.model_spec.signature_name = signature.name
    for name, array in inputs.items():
        encode(array, signature.inputs[name].dtype, request.inputs[name])
    return request


def parse(message: Any, data: bytes) -> Any:
    """Parses an answer.

    Args:
        message: the class of ``gradwire._proto``.
        data: as it came.

    Raises:
        ServerError: it is no such message.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        text = f"the answer cannot be parsed ({error}), expected TensorFlow Serving's: is that what listens there?"
        raise ServerError(text, code="INTERNAL") from error


def read_outputs(answer: Any) -> dict[str, NDArray[Any]]:
    """Reads the outputs of a PredictResponse, by name; they may be read-only."""
    return {name: decode(tensor, name) for name, tensor in answer.outputs.items()}


@final
class Whole:
    """The outputs of a call in pieces, filled as the pieces come, in any order.

    Attributes:
        arrays: by output name.
        versions: the versions of the model that answered.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.arrays: dict[str, NDArray[Any]] = {}
        self.versions: set[int] = set()

    def put(self, block: Block, data: bytes) -> None:
        """Puts the answer for a block in its place.

        Args:
            block: the rows that were sent.
            data: the PredictResponse.

        Raises:
            ServerError: an output has another number of rows, or is unlike that of an earlier piece.
        """
        answer = parse(_proto.PredictResponse, data)
        self.versions.add(answer.model_spec.version.value)
        for name, piece in read_outputs(answer).items():
            if name not in self.arrays:
                self.arrays[name] = np.empty((self._rows, *piece.shape[1:]), piece.dtype)
            whole = self.arrays[name]
            expected = (block.stop - block.start, *whole.shape[1:])
            if piece.shape != expected or piece.dtype != whole.dtype:
                got = f"the answer's {name!r} is {piece.dtype} {piece.shape} for {expected[0]} rows"
                raise ServerError(
                    f"{got}, expected {whole.dtype} {expected}: ask its operator", code="INTERNAL"
                )
            whole[block.start : block.stop] = piece
