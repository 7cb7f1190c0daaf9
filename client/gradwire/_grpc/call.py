"""One call on its way, in one piece or in many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from gradwire._errors import ServerError
from gradwire._grpc.chunking import Block, split
from gradwire._wire import Prediction, predict_request, read_prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire._grpc.chunking import Limits
    from gradwire._grpc.status import Fault
    from gradwire._wire import Address, Call


@final
class Job:
    """A call, what of it is still to be sent, and what has come back.

    Args:
        call: what to do.
        rows: how many rows it has; None where it has no batch axis.
        deadline: when it must be done, on the driver's clock.

    Attributes:
        deadline: as above.
        was_put_off: whether the deadline is later than it was when messages were sent.
        fault: the last thing that went wrong and was to be tried again.
        is_pinned: whether one version is asked for, because several had answered.
    """

    def __init__(self, call: Call, rows: int | None, deadline: float) -> None:
        self.call = call
        self.deadline = deadline
        self.fault: Fault | None = None
        self.is_pinned = False
        self.was_put_off = False
        self._version: int | None = None
        self._rows = rows
        self._restart()

    @property
    def is_done(self) -> bool:
        """Whether every row is answered."""
        return not self._left

    @property
    def has_unsent(self) -> bool:
        """Whether rows wait to be sent for the first time, or to be cut anew."""
        return bool(self._unsent)

    @property
    def answer(self) -> Prediction:
        """The outputs, once it is done."""
        return Prediction(self._arrays, max(self._versions, default=None))

    def put_off(self, seconds: float) -> None:
        """Gives it more time, for the driver was held up."""
        self.deadline += seconds
        self.was_put_off = True

    def cut(self, limits: Limits) -> Block:
        """Takes the rows of the next message."""
        block = self._unsent.pop()
        most = None if self._rows is None else limits.most_rows(self.call, self._rows)
        if most is not None:
            block, rest = split(block, most)
            if rest.rows:
                self._unsent.append(rest)
        return block

    def cut_all(self) -> Block:
        """Takes all rows, as if for one message."""
        return self._unsent.pop()

    def can_be_cut(self, limits: Limits) -> bool:
        """Whether its rows may go in several messages."""
        return self._rows is not None and limits.most_rows(self.call, self._rows) is not None

    def put_back(self, block: Block) -> None:
        """Gives back rows that are to be cut anew."""
        self._unsent.append(block)

    def request(self, block: Block, address: Address) -> bytes:
        """Writes the message for some rows."""
        signature, inputs, outputs = self.call
        if self._rows is not None and block.rows != self._rows:
            inputs = {name: array[block.start : block.stop] for name, array in inputs.items()}
        return predict_request(address, signature, inputs, outputs, self._version)

    def land(self, block: Block, data: bytes) -> None:
        """Puts the answer for some rows in its place.

        When pieces were answered by several versions, all is asked for again, of the newest: never a mixture.

        Raises:
            ServerError: it is no answer, has another number of rows, or is unlike that of an earlier piece.
        """
        found = read_prediction(data)
        if found.version is not None:
            self._versions.add(found.version)
        if self._rows is None or block.rows == self._rows:
            self._arrays = found
        else:
            for name, piece in found.items():
                self._place(name, block, piece, self._rows)
        self._left -= block.rows
        if not self._left and len(self._versions) > 1:
            self._version, self.is_pinned = max(self._versions), True
            self._restart()

    def _restart(self) -> None:
        rows = 1 if self._rows is None else self._rows
        self._left = rows
        self._unsent = [Block(0, rows)] if rows else []
        self._versions: set[int] = set()
        self._arrays: dict[str, NDArray[Any]] = {}

    def _place(self, name: str, block: Block, piece: NDArray[Any], rows: int) -> None:
        if name not in self._arrays:
            self._arrays[name] = np.empty((rows, *piece.shape[1:]), piece.dtype)
        whole = self._arrays[name]
        expected = (block.rows, *whole.shape[1:])
        if piece.shape != expected or piece.dtype != whole.dtype:
            got = f"the answer's {name!r} is {piece.dtype} {piece.shape} for {expected[0]} rows"
            raise ServerError(f"{got}, expected {whole.dtype} {expected}: ask its operator", code="INTERNAL")
        whole[block.start : block.stop] = piece
