"""Large calls in pieces: how many rows go into one message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, final

from gradwire._package import BY_NAME
from gradwire._wire import count_rows

if TYPE_CHECKING:
    from gradwire._wire import Call

# gRPC refuses to receive more than 4 MiB unless told otherwise, and proxies in between keep that default. The
# slack is for names, shapes and lengths.
MESSAGE_LIMIT: Final = 4 * 1024 * 1024 - 64 * 1024


class Block(NamedTuple):
    """Rows from ``start`` up to but not including ``stop``."""

    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start


def split(block: Block, most: int) -> tuple[Block, Block]:
    """Splits off the first of as few and as equal pieces as there can be.

    Args:
        block: the rows, at least one.
        most: rows of a piece, at least one.

    Returns:
        The first piece, and what is left, of no rows where the block fits.
    """
    pieces = math.ceil(block.rows / most)
    middle = block.start + math.ceil(block.rows / pieces)
    return Block(block.start, middle), Block(middle, block.stop)


def row_bytes(call: Call, rows: int) -> int | None:
    """Tells the size of one row in a message: the larger of request and, by the signature's estimate, answer.

    Args:
        call: the call.
        rows: its rows, at least one.

    Returns:
        Bytes; None where an input or an output has no batch axis, so that the call cannot be cut.
    """
    signature = call.signature
    given = [signature.outputs[name] for name in (signature.outputs if call.outputs is None else call.outputs)]
    if not all(spec.is_batch_first for spec in (*(signature.inputs[name] for name in call.inputs), *given)):
        return None
    request = math.ceil(sum(array.nbytes for array in call.inputs.values()) / rows)
    answer = sum(
        BY_NAME[spec.dtype].wire_bytes * math.prod(size or 1 for size in spec.row_shape)
        for spec in given
        if spec.dtype in BY_NAME
    )
    return max(1, request, answer)


@final
class Limits:
    """How much goes into one message of a server, as far as that is known; shared by all calls of a transport.

    Args:
        message: bytes.
    """

    def __init__(self, message: int) -> None:
        self._message = message
        self._rows: dict[str, int] = {}  # by signature: what the server was heard to take

    def most_rows(self, call: Call, rows: int) -> int | None:
        """Tells how many rows of a call go into one message, at least one; None where it cannot be cut.

        Args:
            call: the call.
            rows: how many it has.
        """
        size = row_bytes(call, rows)
        if size is None:
            return None
        return min(max(1, self._message // size), self._rows.get(call.signature.name, rows))

    def learn(self, signature: str, rows: int) -> None:
        """Notes that the server takes no more than so many rows of a signature."""
        self._rows[signature] = max(1, min(rows, self._rows.get(signature, rows)))

    def fits(self, call: Call) -> bool:
        """Whether a call goes into one message."""
        rows = count_rows(call.signature, call.inputs)
        most = None if rows is None else self.most_rows(call, rows)
        return rows is None or most is None or rows <= most
