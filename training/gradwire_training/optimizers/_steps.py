"""Many steps of a Keras optimiser inside one compiled call."""

from __future__ import annotations

import time
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

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
    width = 0 if batches is None else int(batches.counts.shape[0])
    most = min(MOST_STEPS, max(1, MOST_ROWS // max(width, 1)))
    chunk = Compiled(_chunk(objective, optimizer, batches, most))
    reporter = Reporter(
        objective, monitor, name, lambda: {str(index): value for index, value in enumerate(optimizer.variables)}
    )
    objective.train(resumed=reporter.resumed is not None)
    if reporter.resumed is not None:
        for index, variable in enumerate(optimizer.variables):
            variable.assign(reporter.resumed[str(index)])
    size, is_warm = min(FIRST_STEPS, most), False
    while reporter.done < steps:
        count, order = _order(batches, reporter.done, min(size, steps - reporter.done), (most, width))
        before = objective.snapshot()
        began = time.perf_counter()
        losses, maes = (column.numpy()[:count] for column in chunk(tf.constant(count), order))
        if is_warm:  # the time of the first chunk is the compiler's
            size = min(_next_size(size, time.perf_counter() - began), most)
        # The loss of a mini-batch is its own; their mean is that of the weights before the chunk, nearly.
        monitor.offer(float(losses[0] if batches is None else losses.mean()), before)
        is_warm = True
        if not reporter.report(losses, maes, xla=chunk.xla):
            break


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
