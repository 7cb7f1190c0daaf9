"""Many steps of a Keras optimiser inside one compiled call."""

from __future__ import annotations

import time
from typing import Any, Final, final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradwire_training._objective import Batches, Compiled, Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._reporting import Reporter

FIRST_STEPS: Final = 16  # of the first chunk: even at 10 ms a step the first report comes soon
MOST_STEPS: Final = 1_000  # of a chunk: the size of the buffer of losses; larger ones save nothing more
MOST_ROWS: Final = 2**21  # row numbers of a chunk's mini-batches: 8 MB
GROWTH: Final = 4  # from chunk to chunk, while they stay short
CHUNK_SECONDS: Final = 0.25  # about how often callbacks run and Ctrl-C is heard


def run_steps(
    objective: Objective,
    optimizer: keras.optimizers.Optimizer,
    monitor: Monitor,
    *,
    steps: int,
    name: str,
    batches: Batches | None = None,
) -> None:
    """Take steps in chunks whose length follows the clock.

    The optimiser is fresh; without ``batches`` it takes all rows. The history's loss and mae of a step are those before
    its update, as ``model.fit`` reports them when there is one batch. The number of steps is an argument of the
    compiled loop: it compiles once, and the numbers of a step do not depend on where chunks begin and end.
    """
    chunks = Chunks(objective, optimizer, batches)
    reporter = Reporter(
        objective, monitor, name, lambda: {str(index): value for index, value in enumerate(optimizer.variables)}
    )
    objective.train(resumed=reporter.resumed is not None)
    if reporter.resumed is not None:
        for index, variable in enumerate(optimizer.variables):
            variable.assign(reporter.resumed[str(index)])
    while reporter.done < steps:
        before = objective.snapshot()
        losses, maes = chunks.take(reporter.done, steps - reporter.done)
        # The loss of a mini-batch is its own; their mean is that of the weights before the chunk, nearly.
        monitor.offer(float(losses[0] if batches is None else losses.mean()), before)
        if not reporter.report(losses, maes, xla=chunks.xla):
            break


@final
class Chunks:
    """Steps in one compiled loop, so many at a time as take about a quarter of a second."""

    def __init__(
        self, objective: Objective, optimizer: keras.optimizers.Optimizer, batches: Batches | None = None
    ) -> None:
        self._batches = batches
        self._width = 0 if batches is None else int(batches.counts.shape[0])
        self._most = min(MOST_STEPS, max(1, MOST_ROWS // max(self._width, 1)))
        self._run = Compiled(_chunk(objective, optimizer, batches, self._most), xla=objective.suits_xla)
        self._size, self._is_warm = min(FIRST_STEPS, self._most), False

    @property
    def xla(self) -> bool:
        """Whether XLA compiled them, as far as known."""
        return self._run.xla

    def take(self, done: int, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Take the steps after ``done``, ``most`` at most, and return the loss and the metric of each."""
        shape = (self._most, self._width)
        count, order = _order(self._batches, done, min(self._size, most), shape)
        began = time.perf_counter()
        losses, maes = (column.numpy()[:count] for column in self._run(tf.constant(count), order))
        if self._is_warm:  # the time of the first chunk is the compiler's
            self._size = min(_next_size(self._size, time.perf_counter() - began), self._most)
        self._is_warm = True
        return losses, maes


def _order(batches: Batches | None, done: int, most: int, shape: tuple[int, int]) -> tuple[int, Any]:
    """Return the number of the next steps, and their rows in a tensor that always has one shape."""
    buffer = np.zeros(shape, np.int32)
    if batches is None:
        return most, tf.constant(buffer)
    order = batches.order(done, most)
    buffer[: len(order)] = order
    return len(order), tf.constant(buffer)


def _chunk(objective: Objective, optimizer: keras.optimizers.Optimizer, batches: Batches | None, most: int) -> Any:
    optimizer.build(objective.trainable)

    def gradient(order: Any, done: Any) -> tuple[Any, Any, list[Any]]:
        if batches is None:
            return objective.gradient()
        return objective.gradient(batches.data.take(order[done]), batches.counts)

    def run(count: Any, order: Any) -> tuple[Any, Any]:
        def step(done: Any, losses: Any, maes: Any) -> tuple[Any, Any, Any]:
            loss, mae, gradients = gradient(order, done)
            optimizer.apply(gradients, objective.trainable)
            return done + 1, losses.write(done, loss), maes.write(done, mae)

        empty = [tf.TensorArray(objective.dtype, size=most, element_shape=()) for _ in range(2)]
        _, losses, maes = tf.while_loop(lambda done, *_: done < count, step, (0, *empty))
        return losses.stack(), maes.stack()

    return run


def _next_size(size: int, seconds: float) -> int:
    """Return the length of the next chunk, after one of ``size`` steps took ``seconds``."""
    if seconds < CHUNK_SECONDS / GROWTH:
        return min(size * GROWTH, MOST_STEPS)
    if seconds > CHUNK_SECONDS * 2:
        return max(size // 2, 1)
    return size
