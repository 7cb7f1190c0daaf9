"""Cutting, and several pieces in flight."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from gradwire import Signature, TensorSpec
from gradwire._chunks import MESSAGE_LIMIT, Block, blocks_of, cut, fly


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 1001])
@pytest.mark.parametrize("row_bytes", [0, 1, 8, 33, 5000])
@pytest.mark.parametrize("limit", [1, 64, 4096])
def test_blocks_cover_the_rows_and_stay_below_the_limit(rows: int, row_bytes: int, limit: int):
    """Blocks follow one another without gaps, differ by at most one row, and no larger than allowed."""
    blocks = cut(rows, row_bytes, limit)
    sizes = [block.stop - block.start for block in blocks]
    assert blocks[0].start == 0
    assert blocks[-1].stop == rows
    assert all(a.stop == b.start for a, b in itertools.pairwise(blocks))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) == 1 or max(sizes) * row_bytes <= limit


def signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> Signature:
    """A signature of float64 tensors with these shapes."""
    one, other = ({n: TensorSpec(n, "float64", s) for n, s in side.items()} for side in (inputs, outputs))
    return Signature("go", inputs=one, outputs=other)


@pytest.mark.parametrize(
    ("outputs", "wanted", "pieces"),
    [
        ({"f": (None, 1)}, None, 2),  # the request is larger
        ({"f": (None, 1), "d": (None, 100)}, None, 13),  # the answer is larger
        ({"f": (None, 1), "d": (None, 100)}, ["f"], 2),  # what is filtered out does not count
        ({"f": (None, 1), "k": (2,)}, None, 1),  # what has no batch axis cannot be put together
    ],
)
def test_the_larger_of_request_and_answer_decides(outputs: Any, wanted: Any, pieces: int):
    """Neither a request nor an answer, as the signature has it, is over the limit."""
    found = blocks_of(
        signature({"x": (None, 8)}, outputs), {"x": np.empty((65536, 8))}, wanted, MESSAGE_LIMIT
    )
    assert len(found) == pieces


def test_a_call_without_a_batch_axis_goes_whole():
    """An input that has no rows is not cut."""
    assert blocks_of(signature({"x": ()}, {"f": ()}), {"x": np.ones(())}, None, 4) == [Block(0, 1)]


BLOCKS = cut(10, 1, 1)


@pytest.mark.parametrize("order", [1, -1])
def test_any_order_of_completion(order: int):
    """Answers land as they come, each with its own block; no more calls than allowed are under way."""
    flying: list[tuple[Block, Future[bytes]]] = []
    most = 0
    landed: dict[Block, bytes] = {}

    def start(block: Block) -> Any:
        nonlocal most
        future: Future[bytes] = Future()
        flying.append((block, future))
        most = max(most, len(flying))
        if len(flying) == 3 or block is BLOCKS[-1]:
            for held, call in flying[::order]:
                call.set_result(str(held.start).encode())
            flying.clear()
        return future

    fly(BLOCKS, start, landed.__setitem__, in_flight=3)
    assert landed == {block: str(block.start).encode() for block in BLOCKS}
    assert most == 3


def test_a_failure_cancels_the_others_and_starts_no_more():
    """The first failure, of whichever block, ends the operation at once."""
    started: list[Future[bytes]] = []

    def start(block: Block) -> Any:
        future: Future[bytes] = Future()
        started.append(future)
        if len(started) == 3:
            threading.Thread(target=future.set_exception, args=(OSError("broken"),)).start()
        return future

    with pytest.raises(OSError, match="broken"):
        fly(BLOCKS, start, _unexpected, in_flight=3)
    assert len(started) == 3
    assert [future.cancelled() for future in started] == [True, True, False]


def test_a_block_that_cannot_land_cancels_the_others():
    """A malformed answer ends the operation as a failed call does."""
    started: list[Future[bytes]] = []

    def start(block: Block) -> Any:
        started.append(Future())
        if len(started) == 1:
            started[0].set_result(b"")
        return started[-1]

    with pytest.raises(AssertionError, match="not expected"):
        fly(BLOCKS, start, _unexpected, in_flight=2)
    assert all(future.cancelled() for future in started[1:])


def _unexpected(block: Block, data: bytes) -> None:
    raise AssertionError("not expected")
