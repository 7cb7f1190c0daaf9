"""The wire form, against Protocol Buffers' own reading of it."""

from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value

from gradwire_serving._wire.protobuf import field, read_varint, varint


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_varints_are_those_of_protocol_buffers(value: int):
    """A number is written as protobuf writes it, and read back with the place of what follows."""
    encoded = varint(value)
    assert UInt64Value.FromString(b"\x08" + encoded).value == value
    assert read_varint(b"!" + encoded + b"!", 1) == (value, 1 + len(encoded))


def test_a_truncated_varint_is_refused():
    """Data that ends within a number is an IndexError, and a number of more than ten bytes a ValueError."""
    with pytest.raises(IndexError):
        read_varint(b"\x80", 0)
    assert read_varint(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)
    with pytest.raises(ValueError, match="0"):
        read_varint(b"\xff" * 10 + b"\x01", 0)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_a_field_of_pieces_is_one_field(size: int):
    """Pieces are joined under one length."""
    content = bytes(range(256)) * 300
    message = b"".join(field(1, content[: size // 3], memoryview(content)[size // 3 : size]))
    assert BytesValue.FromString(message).value == content[:size]
