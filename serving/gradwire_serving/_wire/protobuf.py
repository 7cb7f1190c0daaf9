"""Protocol Buffers' wire form, as far as a response needs it (protobuf.dev/programming-guides/encoding).

Arrays go from TensorFlow's memory into the response with one copy. Filling a ``PredictResponse`` and serialising it
copies them four times, and costs 5 ms instead of 0.5 for 262,144 doubles twice.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Part: TypeAlias = bytes | memoryview  # of bytes, so that len() is its size

_LENGTH_DELIMITED: Final = 2
_LOW_BITS: Final = 0x7F  # of a byte, the seven that carry digits
_MORE: Final = 0x80  # the bit that says that another byte follows
_LONGEST_VARINT: Final = 10  # bytes: 64 bits in groups of seven


def varint(value: int) -> bytes:
    """Encode an integer of at least zero in groups of seven bits, lowest first."""
    encoded = bytearray()
    while value > _LOW_BITS:
        encoded.append(value & _LOW_BITS | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Decode an integer, and return it with the position after it.

    Raises:
        IndexError: the data ends within it.
        ValueError: it has more than ten bytes.
    """
    value = 0
    for position in range(start, start + _LONGEST_VARINT):
        byte = data[position]
        value |= (byte & _LOW_BITS) << 7 * (position - start)
        if not byte & _MORE:
            return value, position + 1
    raise ValueError(start)


def field(number: int, *content: Part) -> list[Part]:
    """Frame content as a length-delimited field: a string, a message, or a packed repeated field."""
    return [field_head(number, sum(len(part) for part in content)), *content]


def field_head(number: int, size: int) -> bytes:
    """Return what stands before the content of a length-delimited field."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(size)
