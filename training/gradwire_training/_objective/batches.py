"""Mini-batches: which rows each step looks at, decided by the seed and the step's number alone.

A fit that is taken up again sees the same rows as one that was never killed, with nothing saved but the number of its
steps. (An iterator of tf.data would have to save its shuffle buffer, and cannot where Python makes the rows.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import tensorflow as tf

from gradwire._errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._data import Block, Stream
    from gradwire_training._objective.objective import Objective
    from gradwire_training._objective.tensors import Data

BATCH: Final = 1_024  # of a stream; smaller ones take hardly less time a step
STREAM: Final = 3  # of random numbers, apart from those behind points, weights and held-out rows


class Batches(ABC):
    """Rows for steps, batch after batch.

    Attributes:
        data: the rows that batches are taken from; pins behind them.
        counts: for how many rows each row of a batch stands: all rows over the batch's, and 1 for pins, which are
            part of every batch.
    """

    data: Data
    counts: Any

    @abstractmethod
    def order(self, step: int, most: int) -> NDArray[np.int32]:
        """Says which rows the next steps look at; brings them into ``data`` where they are not there yet.

        Args:
            step: how many steps are done.
            most: of how many steps at most.

        Returns:
            Row numbers ``(steps, batch)``, of at least one step.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends what reads ahead."""


@final
class InMemory(Batches):
    """Batches of rows that are all in memory: a new random order every epoch, a last batch that is not full left out.

    Args:
        objective: with the rows.
        size: of a batch.
        seed: of the order.
    """

    def __init__(self, objective: Objective, size: int, seed: int) -> None:
        self._rows = objective.count
        self._size = min(size, self._rows)
        self._seed = seed
        self._pins = self._rows + np.arange(objective.pins)
        self._epoch = -1
        self._shuffled = np.empty(0, np.int64)
        self.data = objective.data
        self.counts = _counts(objective, self._rows, self._size)

    def order(self, step: int, most: int) -> NDArray[np.int32]:
        """Takes the next part of the epoch's order (see ``Batches.order``)."""
        per_epoch = self._rows // self._size
        epoch, first = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._shuffled = _generator(self._seed, epoch).permutation(self._rows)
        last = min(first + most, per_epoch)
        return _with_pins(self._shuffled[first * self._size : last * self._size], self._size, self._pins)

    def close(self) -> None:
        """Does nothing: all is in memory."""


@final
class FromStream(Batches):
    """Batches of rows in files: blocks of them in a random order, shuffled within; one block is read ahead.

    Args:
        objective: of some of the rows.
        stream: all of them.
        size: of a batch; None for 1,024, or fewer where there are fewer.
        seed: of the order.

    Raises:
        UsageError: a batch is larger than a block.
    """

    def __init__(self, objective: Objective, stream: Stream, size: int | None, seed: int) -> None:
        self._objective = objective
        self._stream = stream
        self._size = min(BATCH, *(block.rows for block in stream.blocks(0))) if size is None else size
        self._seed = seed
        if self._size > stream.capacity:
            raise UsageError(
                f"batch_size {size} is above the {stream.capacity:,} rows that are held at a time: "
                "take smaller batches, or a larger block_rows"
            )
        self.data = objective.data.buffers(stream.capacity + objective.pins)
        self.counts = _counts(objective, objective.count, self._size)
        self._epoch, self._index, self._first = (
            0,
            0,
            0,
        )  # where the steps are: epoch, block, first step of the block
        self._blocks = stream.blocks(0)
        self._loaded: tuple[int, int] | None = None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gradwire-stream")
        self._ahead: tuple[tuple[int, int], Future[Data]] | None = None

    def order(self, step: int, most: int) -> NDArray[np.int32]:
        """Takes the next part of the block's order, and changes the block where it is used up."""
        while step >= self._first + self._steps(self._blocks[self._index]):
            self._first += self._steps(self._blocks[self._index])
            self._epoch, self._index, self._blocks = self._after()
        rows = self._load()
        first = step - self._first
        last = min(first + most, rows // self._size)
        shuffled = _generator(self._seed, self._epoch, self._index).permutation(rows)
        pins = rows + np.arange(self._objective.pins)
        return _with_pins(shuffled[first * self._size : last * self._size], self._size, pins)

    def close(self) -> None:
        """Waits for the block that is being read, and ends the thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _steps(self, block: Block) -> int:
        return block.rows // self._size

    def _after(self) -> tuple[int, int, list[Block]]:
        if self._index + 1 < len(self._blocks):
            return self._epoch, self._index + 1, self._blocks
        return self._epoch + 1, 0, self._stream.blocks(self._epoch + 1)

    def _load(self) -> int:
        """Fills the buffers with the block at hand, and has the next one read."""
        here = (self._epoch, self._index)
        block = self._blocks[self._index]
        if self._loaded != here:
            if self._ahead is not None and self._ahead[0] == here:
                data = self._ahead[1].result()
            else:
                data = self._read(block)
            self.data.fill(data)
            self._loaded = here
            epoch, index, blocks = self._after()
            self._ahead = (epoch, index), self._reader.submit(self._read, blocks[index])
        return block.rows

    def _read(self, block: Block) -> Data:
        return self._objective.data_of(self._stream.read(block))


def _counts(objective: Objective, rows: int, size: int) -> Any:
    return tf.constant([rows / size] * size + [1.0] * objective.pins, objective.dtype)


def _with_pins(rows: NDArray[np.int64], size: int, pins: NDArray[np.int64]) -> NDArray[np.int32]:
    batches = rows.reshape(-1, size)
    return np.concatenate([batches, np.broadcast_to(pins, (len(batches), len(pins)))], axis=1).astype(np.int32)


def _generator(seed: int, *where: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, STREAM, *where)))
