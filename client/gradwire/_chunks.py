"""Large calls in pieces: where to cut, and several pieces in flight at once."""

from __future__ import annotations

import itertools
import math
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gradwire._dtypes import BY_NAME
from gradwire._rows import count_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import grpc
    from numpy.typing import NDArray

    from gradwire._contract import Signature

# gRPC refuses to receive more than 4 MiB unless told otherwise, and proxies in between keep that default. The
# slack is for names, shapes and lengths.
MESSAGE_LIMIT: Final = 4 * 1024 * 1024 - 64 * 1024

# Two pieces keep the line and the server busy at once, a third covers the time between; a stock Serving runs
# no more than 4 calls a core, for all of its callers.
IN_FLIGHT: Final = 3


class Block(NamedTuple):
    """Rows from ``start`` up to but not including ``stop``."""

    start: int
    stop: int


def cut(rows: int, row_bytes: int, limit: int) -> list[Block]:
    """Cuts rows into blocks of nearly equal size that each stay below a limit.

    Args:
        rows: how many there are, at least one.
        row_bytes: bytes of one row in a message.
        limit: bytes of a message. A row that is larger goes alone.

    Returns:
        The blocks, in order and without gaps.
    """
    most = max(1, limit // max(1, row_bytes))
    pieces = math.ceil(rows / most)
    ends = [rows * index // pieces for index in range(pieces + 1)]
    return [Block(start, stop) for start, stop in itertools.pairwise(ends)]


def blocks_of(
    signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None, limit: int
) -> list[Block]:
    """Cuts a call so that neither a request nor, by the signature's estimate, an answer passes the limit.

    Args:
        signature: what is called.
        inputs: its inputs.
        outputs: the outputs wanted; None for all.
        limit: bytes of a message.

    Returns:
        The blocks; one block where the call fits, or where an input or output has no batch axis to cut along.
    """
    rows = count_rows(signature, inputs)
    specs = [signature.outputs[name] for name in (signature.outputs if outputs is None else outputs)]
    sent = [signature.inputs[name] for name in inputs]
    if rows is None or not all(spec.is_batch_first for spec in (*sent, *specs)):
        return [Block(0, rows or 1)]
    request = sum(array.nbytes for array in inputs.values())
    answer = rows * sum(
        BY_NAME[spec.dtype].wire_bytes * math.prod(size or 1 for size in spec.row_shape)
        for spec in specs
        if spec.dtype in BY_NAME
    )
    return cut(rows, math.ceil(max(request, answer) / rows), limit)


def fly(
    blocks: Sequence[Block],
    start: Callable[[Block], grpc.Future[bytes]],
    land: Callable[[Block, bytes], None],
    *,
    in_flight: int = IN_FLIGHT,
) -> None:
    """Starts a call for each block, a few at a time, and hands over each answer as it comes, in any order.

    Args:
        blocks: what to do.
        start: starts the call of a block.
        land: takes the answer of a block.
        in_flight: how many calls at once.

    Raises:
        grpc.RpcError: the first call that failed; those still in flight are cancelled.
    """
    waiting = iter(blocks)
    flying: dict[Block, grpc.Future[bytes]] = {}
    done: SimpleQueue[Block] = SimpleQueue()

    def launch(count: int) -> None:
        for block in itertools.islice(waiting, count):
            flying[block] = start(block)
            flying[block].add_done_callback(lambda _, block=block: done.put(block))

    try:
        launch(in_flight)
        while flying:
            block = done.get()
            answer = flying.pop(block).result()
            launch(1)
            land(block, answer)
    finally:
        for call in flying.values():
            call.cancel()
