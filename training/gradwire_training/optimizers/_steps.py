"""Many steps of a Keras optimiser inside one compiled call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from gradwire_training._compiled import Compiled

if TYPE_CHECKING:
    import keras

    from gradwire_training._monitor import Monitor
    from gradwire_training._objective import Objective

FIRST_STEPS: Final = 16  # of the first chunk: even 10 ms a step lets the first report come soon
MOST_STEPS: Final = 1_000  # of a chunk: the size of the buffer of losses; larger ones save nothing more
GROWTH: Final = 4  # from chunk to chunk, while they stay short
CHUNK_SECONDS: Final = 0.25  # about how often callbacks run and Ctrl-C is heard


def run_steps(
    objective: Objective, optimizer: keras.optimizers.Optimizer, monitor: Monitor, *, steps: int, name: str
) -> None:
    """Takes steps on all rows at once, in chunks whose length follows the clock.

    The history's loss and mae of a step are those before its update, as ``model.fit`` reports them when there
    is one batch. The number of steps is an argument of the compiled loop: it compiles once.

    Args:
        objective: what is made small.
        optimizer: fresh; its update runs inside the loop.
        monitor: gets a report after each chunk.
        steps: how many.
        name: of the optimiser in reports.
    """
    chunk = Compiled(_chunk(objective, optimizer))
    done, size, warm = 0, FIRST_STEPS, False
    while done < steps:
        count = min(size, steps - done)
        before = objective.snapshot()
        began = time.perf_counter()
        losses, maes = (column.numpy()[:count] for column in chunk(tf.constant(count)))
        size = _next_size(size, time.perf_counter() - began) if warm else size
        monitor.offer(losses[0], before)
        done, warm = done + count, True
        if not monitor.report(losses, maes, name, xla=chunk.xla):
            break


def _chunk(objective: Objective, optimizer: keras.optimizers.Optimizer) -> Any:
    optimizer.build(objective.trainable)

    def run(count: Any) -> tuple[Any, Any]:
        def step(done: Any, losses: Any, maes: Any) -> tuple[Any, Any, Any]:
            loss, mae, gradients = objective.gradient()
            optimizer.apply(gradients, objective.trainable)
            return done + 1, losses.write(done, loss), maes.write(done, mae)

        empty = [tf.TensorArray(objective.dtype, size=MOST_STEPS, element_shape=()) for _ in range(2)]
        _, losses, maes = tf.while_loop(lambda done, *_: done < count, step, (0, *empty))
        return losses.stack(), maes.stack()

    return run


def _next_size(size: int, seconds: float) -> int:
    """Chooses the next chunk's length; the first chunk is not asked, for its time is the compiler's."""
    if seconds < CHUNK_SECONDS / GROWTH:
        return min(size * GROWTH, MOST_STEPS)
    if seconds > CHUNK_SECONDS * 2:
        return max(size // 2, 1)
    return size
