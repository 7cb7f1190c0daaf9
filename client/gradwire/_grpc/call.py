"""One call on its way to a server, in one chunk or in many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import ServerError
from gradwire._grpc.channel import Pairs
from gradwire._grpc.chunking import MessageLimits, RowRange, split
from gradwire._grpc.status import RpcStatus
from gradwire._wire import Call, PredictCodec, Prediction


@final
class ChunkedCall:
    """A call, the rows of it that are still to be sent, and the outputs that have come back.

    Args:
        call: what to do.
        deadline: when it must be done, on the runner's clock.
        codec: writes its messages and reads the responses.

    Attributes:
        deadline: as above.
        was_extended: whether the deadline is later than it was when messages were sent.
        last_failure: the last status after which a message was sent again.
        has_fixed_version: whether one version is requested, because several had responded.
    """

    def __init__(self, call: Call, deadline: float, codec: PredictCodec) -> None:
        self.call = call
        self._codec = codec
        self.deadline = deadline
        self.was_extended = False
        self.last_failure: RpcStatus | None = None
        self.has_fixed_version = False
        self._version: int | None = None
        self._restart()

    @property
    def is_done(self) -> bool:
        """Whether every row has its outputs."""
        return not self._missing

    @property
    def has_unsent(self) -> bool:
        """Whether rows wait to be sent for the first time, or to be split anew."""
        return bool(self._unsent)

    @property
    def prediction(self) -> Prediction:
        """The outputs, once it is done."""
        return Prediction(self._outputs, max(self._versions, default=None))

    def extend_deadline(self, seconds: float) -> None:
        """Give it more time, for the runner was held up."""
        self.deadline += seconds
        self.was_extended = True

    def take(self, limits: MessageLimits | None = None) -> RowRange:
        """Take the rows of the next message off those to be sent; all of them where no limits are given."""
        rows = self._unsent.pop()
        most = None if limits is None else limits.most_rows(self.call)
        if most is not None:
            rows, rest = split(rows, most)
            if rest.size:
                self._unsent.append(rest)
        return rows

    def put_back(self, rows: RowRange) -> None:
        """Return rows that are to be split anew."""
        self._unsent.append(rows)

    def request(self, rows: RowRange) -> bytes:
        """Write the message for some rows."""
        return self._codec.request(self.call, None if self._is_whole(rows) else slice(*rows), self._version)

    def store(self, rows: RowRange, data: bytes) -> None:
        """Put the response for some rows in its place.

        When several versions have responded to chunks, everything is requested again from the newest: never a mixture.

        Raises:
            ServerError: it is not a response, has another number of rows, or differs in form from an earlier chunk's.
        """
        prediction = self._codec.read(data, self.call, None if self.call.rows is None else rows.size)
        if prediction.version is not None:
            self._versions.add(prediction.version)
        if self._is_whole(rows):
            self._outputs = prediction
        else:
            for name, array in prediction.items():
                self._place(name, rows, array)
        self._missing -= rows.size
        if not self._missing and len(self._versions) > 1:
            self._version, self.has_fixed_version = max(self._versions), True
            self._restart()

    def _restart(self) -> None:
        self._missing = 1 if self.call.rows is None else self.call.rows
        self._unsent = [RowRange(0, self._missing)] if self._missing else []
        self._versions: set[int] = set()
        self._outputs: dict[str, NDArray[Any]] = {}

    def _is_whole(self, rows: RowRange) -> bool:
        return self.call.rows is None or rows.size == self.call.rows

    def _place(self, name: str, rows: RowRange, array: NDArray[Any]) -> None:
        if name not in self._outputs:
            own = self.call.out.get(name)
            self._outputs[name] = np.empty((self.call.rows or 0, *array.shape[1:]), array.dtype) if own is None else own
        whole = self._outputs[name]
        expected = (rows.size, *whole.shape[1:])
        if array.shape != expected or array.dtype != whole.dtype:
            raise ServerError(
                f"the response's {name!r} is {array.dtype} {array.shape} for {rows.size} rows, expected {whole.dtype} "
                f"{expected}: ask its operator",
                code="INTERNAL",
            )
        whole[slice(*rows)] = array


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows of a call that travel in one message.

    Attributes:
        call: whose.
        rows: which.
        tries: how often they were sent, this time included.
        epoch: of the limiter, when they were sent.
        not_before: when they may be sent, on the runner's clock.
    """

    call: ChunkedCall
    rows: RowRange
    tries: int = 1
    epoch: int = 0
    not_before: float = 0.0


class Outgoing(NamedTuple):
    """A message that a runner is to send now.

    Attributes:
        chunk: to be handed back with its response or failure.
        data: the request.
        timeout: seconds until its deadline.
        metadata: to go with it, besides the address's own.
    """

    chunk: Chunk
    data: bytes
    timeout: float
    metadata: Pairs
