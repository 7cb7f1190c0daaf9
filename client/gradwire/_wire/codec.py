"""Predict messages without a copy too many: the bytes around arrays are written, and parsed, once.

Calls of one signature and one number of rows have requests that differ in the values of their arrays alone, and so have
their responses. A request is therefore joined from bytes that are ready and the arrays' own memory. Of a response it is
remembered where the values lie; the next one, where every byte around them is the same, is not parsed again. Whatever
is unusual goes through protobuf, with every check: see ``messages``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final, final

import numpy as np

from gradwire._package import BFLOAT16, BY_NAME, STRING
from gradwire._wire import proto
from gradwire._wire.address import Address
from gradwire._wire.call import Call, Prediction
from gradwire._wire.layout import ResponseLayout, find_layout, varint
from gradwire._wire.messages import fill_spec, predict_request, read_prediction
from gradwire._wire.tensor import is_constant, narrowed

_MOST_FORMS: Final = 64  # signatures and numbers of rows that are remembered
_INPUTS: Final = b"\x12"  # PredictRequest.inputs
_KEY: Final = b"\x0a"  # of a map's entry
_VALUE: Final = b"\x12"  # of a map's entry
_CONTENT: Final = b"\x22"  # TensorProto.tensor_content


@final
class PredictCodec:
    """Writes requests to one address and reads their responses; safe to use from several threads.

    Args:
        address: the model, and its version or label where it names one.

    Attributes:
        address: as above.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._prefixes: dict[Hashable, list[bytes]] = {}
        self._layouts: dict[Hashable, ResponseLayout] = {}

    def request(self, call: Call, rows: slice | None = None, version: int | None = None) -> bytes:
        """Write a PredictRequest.

        Args:
            call: what to request.
            rows: those of the call that go into this message; None for all.
            version: instead of the address's version or label.
        """
        forms: list[tuple[str, tuple[int, ...]]] = []
        parts: list[Any] = [b""]  # of the message: what stands before the first array, and then before and in each
        for name, whole in call.inputs.items():
            array, dtype = whole if rows is None else whole[rows], call.signature.inputs[name].dtype
            if dtype == STRING or (array.size > 1 and not array.strides[0] and is_constant(array)):
                return predict_request(self.address, call, rows, version)
            forms.append((name, array.shape))
            parts += (b"", narrowed(array) if dtype == BFLOAT16 else np.ascontiguousarray(array, BY_NAME[dtype].raw))
        key = (call.signature.name, _hashable(call.outputs), version, tuple(forms))
        prefixes = self._prefixes.get(key)
        if prefixes is None:
            prefixes = self._prefixes_of(call, forms, [content.nbytes for content in parts[2::2]], version)
            _remember(self._prefixes, key, prefixes)
        parts[0], parts[1::2] = prefixes[0], prefixes[1:]
        return b"".join(parts)

    def read(self, data: bytes, call: Call, rows: int | None) -> Prediction:
        """Read a PredictResponse; the arrays may be read-only.

        Args:
            data: the message.
            call: what was requested; other outputs are not even read.
            rows: how many of its rows were sent; None where it has none.

        Raises:
            ServerError: it is not one, or holds a tensor of another shape, or whose values do not fit its shape.
        """
        key = (call.signature.name, _hashable(call.outputs), rows)
        layout = self._layouts.get(key)
        if layout is None or not layout.fits(data, call.signature):
            layout = find_layout(data, call, rows)
            if layout is None:
                return read_prediction(data, call, rows)
            _remember(self._layouts, key, layout)
        return layout.read(data)

    def _prefixes_of(
        self, call: Call, forms: Sequence[tuple[str, tuple[int, ...]]], sizes: Sequence[int], version: int | None
    ) -> list[bytes]:
        """Write what stands before the first array, and right before each."""
        head = proto.PredictRequest(output_filter=call.outputs or ())
        fill_spec(head.model_spec, self.address, version)
        head.model_spec.signature_name = call.signature.name
        prefixes = [head.SerializeToString()]
        for (name, shape), size in zip(forms, sizes, strict=True):
            message = proto.Tensor(dtype=BY_NAME[call.signature.inputs[name].dtype].number)
            message.tensor_shape.SetInParent()
            for length in shape:
                message.tensor_shape.dim.add(size=length)
            tensor = message.SerializeToString() + _CONTENT + varint(size)
            key = name.encode()
            entry = _KEY + varint(len(key)) + key + _VALUE + varint(len(tensor) + size) + tensor
            prefixes.append(_INPUTS + varint(len(entry) + size) + entry)
        return prefixes


def _hashable(outputs: Sequence[str] | None) -> tuple[str, ...] | None:
    return outputs if outputs is None or isinstance(outputs, tuple) else tuple(outputs)


def _remember(forms: dict[Hashable, Any], key: Hashable, form: Any) -> None:
    if len(forms) >= _MOST_FORMS:
        forms.clear()
    forms[key] = form
