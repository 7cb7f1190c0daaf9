"""How many rows go into one message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradwire import Call, Signature, TensorSpec
from gradwire._grpc.chunking import MESSAGE_LIMIT, MessageLimits, RowRange, split


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 1001])
@pytest.mark.parametrize("most", [1, 3, 64, 4096])
def test_pieces_cover_the_rows_and_are_nearly_equal(rows: int, most: int):
    """Pieces follow one another without gaps, as few as can be, none larger than allowed, none much smaller."""
    pieces: list[RowRange] = []
    rest = RowRange(0, rows)
    while rest.size:
        piece, rest = split(rest, most)
        pieces.append(piece)
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == rows
    assert len(pieces) == -(-rows // most)
    sizes = [piece.size for piece in pieces]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


def call(inputs: dict[str, Any], outputs: dict[str, Any], rows: int = 65536, wanted: Any = None) -> Call:
    """A call of float64 tensors with these shapes."""
    one, other = ({n: TensorSpec(n, "float64", s) for n, s in side.items()} for side in (inputs, outputs))
    arrays = {n: np.broadcast_to(0.0, (rows, *shape[1:]) if shape else ()) for n, shape in inputs.items()}
    return Call(Signature("go", inputs=one, outputs=other), arrays, wanted)


@pytest.mark.parametrize(
    ("outputs", "wanted", "row"),
    [
        ({"f": (None, 1)}, None, 64),  # the request is larger
        ({"f": (None, 1), "d": (None, 100)}, None, 808),  # the answer is larger
        ({"f": (None, 1), "d": (None, 100)}, ["f"], 64),  # what is filtered out does not count
    ],
)
def test_the_larger_of_request_and_answer_decides(outputs: Any, wanted: Any, row: int):
    """Neither a request nor an answer, as the signature has it, is over the limit."""
    found = MessageLimits(MESSAGE_LIMIT).most_rows(call({"x": (None, 8)}, outputs, wanted=wanted))
    assert found == MESSAGE_LIMIT // row


def test_what_has_no_batch_axis_cannot_be_cut():
    """A call that could not be put together again goes whole."""
    limits = MessageLimits(4)
    assert limits.most_rows(call({"x": (None, 8)}, {"f": (None, 1), "k": (2,)})) is None
    assert limits.fits(call({"x": (None, 8)}, {"k": (2,)}))
    assert limits.fits(call({"x": ()}, {"f": ()}))


def test_a_row_over_the_limit_goes_alone():
    """There is no smaller piece than a row."""
    assert MessageLimits(4).most_rows(call({"x": (None, 8)}, {"f": (None, 1)})) == 1


def test_what_the_server_was_heard_to_take():
    """A limit that was learnt holds for its signature, only ever gets smaller, and is at least a row."""
    limits, asked = MessageLimits(MESSAGE_LIMIT), call({"x": (None, 8)}, {"f": (None, 1)})
    limits.learn("go", 1000)
    limits.learn("go", 2000)
    limits.learn("other", 1)
    assert limits.most_rows(asked) == 1000
    assert not limits.fits(asked)
    limits.learn("go", 0)
    assert limits.most_rows(asked) == 1
