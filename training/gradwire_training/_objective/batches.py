"""Mini-batches: which rows each step looks at, decided by the seed and the step's number alone.

A fit that is resumed sees the same rows as one that was never killed, with nothing saved but the number of its steps.
(An iterator of tf.data would have to save its shuffle buffer, and cannot where Python makes the rows.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire_training._data import Block, Samples, Stream
from gradwire_training._objective.tensors import Data

BATCH: Final = 1_024  # of a stream; smaller ones take hardly less time a step
RANDOM_STREAM: Final = 3  # of random numbers, apart from those behind points, weights and held-out rows


class Batches(ABC):
    """Rows for steps, batch after batch; anchors, the last rows of the data, are part of every batch."""

    data: Data  # the rows that batches are taken from
    counts: Any  # for how many rows each row of a batch stands: all rows over the batch's, and 1 for anchors

    @abstractmethod
    def order(self, step: int, most: int) -> NDArray[np.int32]:
        """Load the rows that the steps after ``step`` look at, and return their numbers, ``(1 to most, batch)``."""

    @abstractmethod
    def close(self) -> None:
        """Release what reads ahead."""


@final
class InMemory(Batches):
    """Batches of rows in memory: a new random order every epoch, a last batch that is not full left out."""

    def __init__(self, data: Data, size: int, *, anchors: int, seed: int) -> None:
        self._rows = _rows_of(data) - anchors
        self._size = min(size, self._rows)
        self._seed = seed
        self._anchors = self._rows + np.arange(anchors)
        self._epoch = -1
        self._shuffled = np.empty(0, np.int64)
        self.data = data
        self.counts = _counts(data, self._rows, self._size, anchors)

    @override
    def order(self, step: int, most: int) -> NDArray[np.int32]:
        per_epoch = self._rows // self._size
        epoch, first = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._shuffled = _generator(self._seed, epoch).permutation(self._rows)
        last = min(first + most, per_epoch)
        return _with_anchors(self._shuffled[first * self._size : last * self._size], self._size, self._anchors)

    @override
    def close(self) -> None:
        pass  # all is in memory


@final
class FromStream(Batches):
    """Batches of rows in files: blocks of them in a random order, shuffled within; one block is read ahead.

    ``data`` holds some of the rows, of which the loss's factors are; a ``size`` of None is 1,024, or a whole block.
    """

    def __init__(
        self,
        stream: Stream,
        make_data: Callable[[Samples], Data],
        data: Data,
        size: int | None,
        *,
        anchors: int,
        seed: int,
    ) -> None:
        self._stream = stream
        self._make_data = make_data
        self._anchors = anchors
        self._size = min(BATCH, *(block.rows for block in stream.blocks(0))) if size is None else size
        self._seed = seed
        if self._size > stream.capacity:
            raise UsageError(
                f"batch_size {size} is above the {stream.capacity:,} rows that are held at a time: "
                "take smaller batches, or a larger block_rows"
            )
        self.data = data.buffers(stream.capacity + anchors)
        self.counts = _counts(data, _rows_of(data) - anchors, self._size, anchors)
        self._epoch = self._index = self._first = 0  # where the steps are: epoch, block, first step of the block
        self._blocks = stream.blocks(0)
        self._loaded: tuple[int, int] | None = None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gradwire-stream")
        self._ahead: tuple[tuple[int, int], Future[Data]] | None = None

    @override
    def order(self, step: int, most: int) -> NDArray[np.int32]:
        while step >= self._first + self._steps(self._blocks[self._index]):
            self._first += self._steps(self._blocks[self._index])
            self._epoch, self._index, self._blocks = self._after()
        rows = self._load()
        first = step - self._first
        last = min(first + most, rows // self._size)
        shuffled = _generator(self._seed, self._epoch, self._index).permutation(rows)
        anchors = rows + np.arange(self._anchors)
        return _with_anchors(shuffled[first * self._size : last * self._size], self._size, anchors)

    @override
    def close(self) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _steps(self, block: Block) -> int:
        return block.rows // self._size

    def _after(self) -> tuple[int, int, list[Block]]:
        if self._index + 1 < len(self._blocks):
            return self._epoch, self._index + 1, self._blocks
        return self._epoch + 1, 0, self._stream.blocks(self._epoch + 1)

    def _load(self) -> int:
        """Fill the buffers with the current block, and begin to read the next one; return its number of rows."""
        here = (self._epoch, self._index)
        block = self._blocks[self._index]
        if self._loaded != here:
            ahead, self._ahead = self._ahead, None
            self.data.fill(ahead[1].result() if ahead is not None and ahead[0] == here else self._read(block))
            self._loaded = here
            epoch, index, blocks = self._after()
            self._ahead = (epoch, index), self._reader.submit(self._read, blocks[index])
        return block.rows

    def _read(self, block: Block) -> Data:
        return self._make_data(self._stream.read(block))


def _rows_of(data: Data) -> int:
    return int(next(iter(data.x.values())).shape[0])


def _counts(data: Data, rows: int, size: int, anchors: int) -> Any:
    return tf.constant([rows / size] * size + [1.0] * anchors, data.labels[0].target.dtype)


def _with_anchors(rows: NDArray[np.int64], size: int, anchors: NDArray[np.int64]) -> NDArray[np.int32]:
    batches = rows.reshape(-1, size)
    return np.concatenate([batches, np.broadcast_to(anchors, (len(batches), len(anchors)))], axis=1).astype(np.int32)


def _generator(seed: int, *where: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, RANDOM_STREAM, *where)))
