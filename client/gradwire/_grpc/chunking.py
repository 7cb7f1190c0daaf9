"""How many rows of a large call go into one message."""

from __future__ import annotations

import math
from typing import Final, NamedTuple, final

from gradwire._package import BY_NAME
from gradwire._wire import Call

# gRPC refuses to receive more than 4 MiB unless told otherwise, and proxies in between keep that default. The slack is
# for names, shapes and lengths.
MESSAGE_LIMIT: Final = 4 * 1024 * 1024 - 64 * 1024


class RowRange(NamedTuple):
    """Rows from ``start`` up to but not including ``stop``."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of rows."""
        return self.stop - self.start


def split(rows: RowRange, most: int) -> tuple[RowRange, RowRange]:
    """Split off the first of as few and as equal chunks as there can be.

    Args:
        rows: at least one.
        most: rows of a chunk, at least one.

    Returns:
        The first chunk and the remaining rows, which are none where everything fits.
    """
    chunks = math.ceil(rows.size / most)
    middle = rows.start + math.ceil(rows.size / chunks)
    return RowRange(rows.start, middle), RowRange(middle, rows.stop)


def row_bytes(call: Call) -> int | None:
    """Return the size of one row in a message: the larger of the request and, as the signature has it, the response.

    Args:
        call: the call.

    Returns:
        Bytes; None where an input or an output has no batch axis, so that the call cannot be split.
    """
    signature = call.signature
    outputs = [signature.outputs[name] for name in (signature.outputs if call.outputs is None else call.outputs)]
    if call.rows is None or not all(
        spec.is_batch_first for spec in (*(signature.inputs[name] for name in call.inputs), *outputs)
    ):
        return None
    request = math.ceil(sum(array.nbytes for array in call.inputs.values()) / max(1, call.rows))
    response = sum(
        BY_NAME[spec.dtype].wire_bytes * math.prod(spec.least_row_shape) for spec in outputs if spec.dtype in BY_NAME
    )
    return max(1, request, response)


@final
class MessageLimits:
    """How much goes into one message of a server, as far as that is known; shared by all calls of a transport.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: dict[str, int] = {}  # by signature: the most that the server has said it accepts

    def most_rows(self, call: Call) -> int | None:
        """Return how many rows of a call go into one message, at least one; None where it cannot be split."""
        size = row_bytes(call)
        if size is None or call.rows is None:
            return None
        return min(max(1, self._limit // size), self._rows.get(call.signature.name, call.rows))

    def learn(self, signature: str, rows: int) -> None:
        """Note that the server accepts no more than so many rows of a signature."""
        self._rows[signature] = max(1, min(rows, self._rows.get(signature, rows)))

    def fits(self, call: Call) -> bool:
        """Whether a call goes into one message."""
        if call.rows == 1:  # which cannot be split
            return True
        most = self.most_rows(call)
        return most is None or call.rows is None or call.rows <= most
