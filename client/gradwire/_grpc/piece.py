"""Rows of a call that travel in one message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from gradwire._grpc.call import Job
    from gradwire._grpc.chunking import Block


@final
@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of a call that travel in one message.

    Attributes:
        job: whose.
        block: which rows.
        tries: how often they were sent, this time included.
        epoch: of the window, when they were sent.
        at: when they may be sent, on the driver's clock.
    """

    job: Job
    block: Block
    tries: int = 1
    epoch: int = 0
    at: float = 0.0


class Sending(NamedTuple):
    """A message that a driver is to send now.

    Attributes:
        piece: to be given back with what comes of it.
        data: the request.
        seconds: its deadline.
    """

    piece: Piece
    data: bytes
    seconds: float
