"""Joining concurrent calls of a signature into one computation, as TensorFlow Serving does with ``--enable_batching``.

A batch is computed by one of the batcher's threads, or, where none is under way and none waits, by the thread of the
call that made it due: to hand one call over to another thread and back takes longer than to compute it.

Calls are joined where their arrays have the same dtypes and row shapes, so that none can spoil another; where a batch
fails, each of its calls is computed alone, and where it takes longer than one of its calls may, the others are computed
again without it. (In TensorFlow Serving a call of another row shape fails its whole batch.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

import numpy as np

from gradwire_serving._core.status import Code, StatusError, deadline_exceeded, invalid_argument

Arrays: TypeAlias = "Mapping[str, np.ndarray]"
Run: TypeAlias = "Callable[[Arrays, float | None], dict[str, np.ndarray]]"  # arrays and timeout to outputs

Queued: TypeAlias = "Callable[[str, float], None]"  # the threads' name, and the seconds that a call waited

STOPPED: Final = "the model was unloaded"
NOT_BATCH_FIRST: Final = (
    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingParameters:
    """``BatchingParameters`` of TensorFlow Serving, with its defaults.

    Attributes:
        max_batch_size: the most rows of a call, and of a batch unless ``max_execution_batch_size`` is set.
        batch_timeout: seconds for which the first call of a batch waits for others.
        max_enqueued_batches: batches of a signature that wait; one more is UNAVAILABLE.
        num_batch_threads: batches of a model that are computed at once; None for one a CPU.
        allowed_batch_sizes: a batch is filled up to one of these; empty for no filling.
        pad_variable_length_inputs: join calls that differ in dimensions that the signature leaves open, by filling the
            shorter rows with the first element.
        max_execution_batch_size: the most rows of a batch, into which larger calls are cut; None for no cutting.
        thread_pool_name: what the metrics call the threads.
    """

    max_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int | None = None
    thread_pool_name: str = "model_server_batch_threads"

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "max_execution_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise invalid_argument(f"{name} must be positive; was {value}")
        if self.allowed_batch_sizes and self.allowed_batch_sizes[-1] != self.batch_size:
            raise invalid_argument(
                f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{self.allowed_batch_sizes[-1]}; expected {self.batch_size}"
            )

    @property
    def batch_size(self) -> int:
        """The most rows that are computed at once."""
        return self.max_execution_batch_size or self.max_batch_size

    def filled(self, rows: int) -> int:
        """Return to how many rows a batch is filled up."""
        return min((size for size in self.allowed_batch_sizes if size >= rows), default=rows)


@final
@dataclass(frozen=True, slots=True)
class Batchable:
    """What is computed in batches: some outputs of a signature.

    Attributes:
        run: computes it.
        input_shapes: the declared shapes of the inputs, -1 for an open dimension; None for an unknown rank.
        fixed_outputs: whether an output has a declared number of rows, and so none for each row of the inputs.
    """

    run: Run
    input_shapes: Mapping[str, tuple[int, ...] | None]
    fixed_outputs: bool


@final
@dataclass(slots=True, eq=False)
class _Task:
    arrays: Arrays
    rows: int
    deadline: float | None
    began: float  # an instant of time.monotonic
    future: Future[dict[str, np.ndarray]] = field(default_factory=Future)


@final
@dataclass(slots=True, eq=False)
class _Batch:
    name: str  # of the signature
    key: Any  # what its calls have in common
    what: Batchable
    due: float
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0


@final
class Batcher:
    """Computes the calls of one servable in batches, on threads of its own.

    Args:
        parameters: how calls are joined.
        queued: called with each call's wait for its batch; None for nobody.
    """

    def __init__(self, parameters: BatchingParameters, queued: Queued | None = None) -> None:
        self._parameters = parameters
        self._queued = queued
        self._queue: list[_Batch] = []  # in the order in which they were opened
        self._open: dict[Any, _Batch] = {}
        self._changed = threading.Condition()
        self._threads = 0
        self._most_running = parameters.num_batch_threads or os.cpu_count() or 1
        self._running = 0  # batches that are computed
        self._closed = False

    def submit(
        self, name: str, what: Batchable, outputs: tuple[str, ...], arrays: Arrays, deadline: float | None
    ) -> Future[dict[str, np.ndarray]]:
        """Return what comes when the call's batch has been computed.

        Args:
            name: the signature's.
            what: what is computed.
            outputs: its outputs: calls for other ones are not joined.
            arrays: the inputs, complete.
            deadline: an instant of ``time.monotonic`` after which nothing is computed; None for no limit.

        Raises:
            StatusError: in TensorFlow Serving's words, if the call cannot be batched, or too many wait.
        """
        rows = _rows(arrays)
        if rows > self._parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {rows} is larger than maximum input batch size {self._parameters.max_batch_size}"
            )
        if not rows:  # nothing to join, and a batch of no rows would never be full
            return _alone(what, arrays, deadline)
        key = (
            name,
            outputs,
            *((alias, array.dtype, self._row_shape(what, alias, array)) for alias, array in arrays.items()),
        )
        size, now = self._parameters.batch_size, time.monotonic()
        tasks = [
            _Task(
                {alias: array[start : start + size] for alias, array in arrays.items()},
                min(size, rows - start),
                deadline,
                now,
            )
            for start in range(0, rows, size)
        ]
        with self._changed:
            self._enqueue(name, key, what, tasks)
            own = self._take_only()
            if own is None:
                self._start_thread()
                self._changed.notify()
        if own is not None:
            self._compute(own)
        return tasks[0].future if len(tasks) == 1 else _joined([task.future for task in tasks])

    def close(self) -> None:
        """Compute no further batch; calls that still wait end as UNAVAILABLE."""
        with self._changed:
            self._closed = True
            batches, self._queue = self._queue, []
            self._open.clear()
            self._changed.notify_all()
        for batch in batches:
            _fail(batch.tasks, StatusError(Code.UNAVAILABLE, STOPPED))

    def _row_shape(self, what: Batchable, alias: str, array: np.ndarray) -> tuple[int | None, ...]:
        shape = array.shape[1:]
        declared = what.input_shapes.get(alias)
        if not self._parameters.pad_variable_length_inputs or declared is None or len(declared) != array.ndim:
            return shape
        return tuple(None if size < 0 else got for size, got in zip(declared[1:], shape, strict=True))

    def _enqueue(self, name: str, key: Any, what: Batchable, tasks: Iterable[_Task]) -> None:
        if self._closed:
            raise StatusError(Code.UNAVAILABLE, STOPPED)
        limit = self._parameters.max_enqueued_batches
        for task in tasks:
            batch = self._open.get(key)
            if batch is None or batch.rows + task.rows > self._parameters.batch_size:
                enqueued = sum(other.name == name for other in self._queue)
                if enqueued >= limit:
                    raise StatusError(
                        Code.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; currently "
                        f"{enqueued} batches enqueued and max_enqueued_batches is {limit}",
                    )
                if batch is not None:
                    batch.due = 0.0
                batch = self._open[key] = _Batch(name, key, what, time.monotonic() + self._parameters.batch_timeout)
                self._queue.append(batch)
            batch.tasks.append(task)
            batch.rows += task.rows
            if batch.rows == self._parameters.batch_size:
                batch.due = 0.0

    def _take_only(self) -> _Batch | None:
        """Take the batch that waits, if it is the only one, is due, and none is computed."""
        if self._running or len(self._queue) != 1 or self._queue[0].due > time.monotonic():
            return None
        return self._take(self._queue[0])

    def _take(self, batch: _Batch) -> _Batch:
        self._queue.remove(batch)
        if self._open.get(batch.key) is batch:
            del self._open[batch.key]
        self._running += 1
        return batch

    def _start_thread(self) -> None:
        if self._threads < self._most_running:
            self._threads += 1
            threading.Thread(target=self._work, name="gradwire-batch", daemon=True).start()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            self._compute(batch)

    def _next(self) -> _Batch | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                is_free = self._running < self._most_running
                due = next((batch for batch in self._queue if batch.due <= now), None) if is_free else None
                if due is not None:
                    self._take(due)
                    if self._queue:
                        self._changed.notify()  # another thread waits for the next one, while this one computes
                    return due
                next_due = min((batch.due for batch in self._queue), default=now + 3600) if is_free else now + 3600
                self._changed.wait(next_due - now)
            return None

    def _compute(self, batch: _Batch) -> None:
        try:
            self._compute_tasks(batch)
        finally:
            with self._changed:
                self._running -= 1
                if self._queue:
                    self._changed.notify()

    def _compute_tasks(self, batch: _Batch) -> None:
        now = time.monotonic()
        if self._queued is not None:
            for task in batch.tasks:
                self._queued(self._parameters.thread_pool_name, now - task.began)
        late = [task for task in batch.tasks if task.deadline is not None and task.deadline <= now]
        _fail(late, deadline_exceeded())
        tasks = [task for task in batch.tasks if task not in late and task.future.set_running_or_notify_cancel()]
        while tasks:
            first = min((task.deadline for task in tasks if task.deadline is not None), default=None)
            try:
                results = self._run(batch.what, tasks, first)
            except Exception as error:  # noqa: BLE001 - it becomes the status of the call that caused it
                overdue = [task for task in tasks if task.deadline == first]
                if _is_late(error) and len(overdue) < len(tasks):  # the others have time left, and may be quick
                    _end(overdue, error)
                    tasks = [task for task in tasks if task not in overdue]
                    continue
                if len(tasks) == 1 or _is_late(error):
                    _end(tasks, error)
                    return
                for task in tasks:
                    _settle(task.future, lambda task=task: self._run(batch.what, [task], task.deadline)[0])
                return
            for task, result in zip(tasks, results, strict=True):
                task.future.set_result(result)
            return

    def _run(self, what: Batchable, tasks: Sequence[_Task], deadline: float | None) -> list[dict[str, np.ndarray]]:
        if what.fixed_outputs:
            raise StatusError(Code.FAILED_PRECONDITION, NOT_BATCH_FIRST)
        rows = sum(task.rows for task in tasks)
        filled = self._parameters.filled(rows)
        arrays = {alias: _stack([task.arrays[alias] for task in tasks], filled - rows) for alias in tasks[0].arrays}
        outputs = what.run(arrays, None if deadline is None else deadline - time.monotonic())
        if any(output.ndim == 0 or len(output) != filled for output in outputs.values()):
            raise StatusError(Code.FAILED_PRECONDITION, NOT_BATCH_FIRST)
        results, start = [], 0
        for task in tasks:
            results.append({alias: output[start : start + task.rows] for alias, output in outputs.items()})
            start += task.rows
        return results


def _rows(arrays: Arrays) -> int:
    if any(array.ndim == 0 for array in arrays.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in arrays.values()}
    if not sizes:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _stack(arrays: Sequence[np.ndarray], missing: int) -> np.ndarray:
    """Join arrays along their rows, shorter rows filled with an array's first element, and add copies of a row."""
    widest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    arrays = [_widened(array, widest) for array in arrays]
    if missing:
        arrays = [*arrays, np.repeat(arrays[0][:1], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _widened(array: np.ndarray, row_shape: np.ndarray) -> np.ndarray:
    if array.shape[1:] == tuple(row_shape) or not array.size:
        return array
    widths = [(0, 0), *((0, int(wide - got)) for wide, got in zip(row_shape, array.shape[1:], strict=True))]
    return np.pad(array, widths, constant_values=array.flat[0])


def _alone(what: Batchable, arrays: Arrays, deadline: float | None) -> Future[dict[str, np.ndarray]]:
    future: Future[dict[str, np.ndarray]] = Future()
    _settle(future, lambda: what.run(arrays, None if deadline is None else deadline - time.monotonic()))
    return future


def _settle(future: Future[Any], compute: Callable[[], Any]) -> None:
    try:
        future.set_result(compute())
    except BaseException as error:  # noqa: BLE001 - it becomes the status of the call
        future.set_exception(error)


def _fail(tasks: Iterable[_Task], error: StatusError) -> None:
    for task in tasks:
        if task.future.set_running_or_notify_cancel():
            task.future.set_exception(error)


def _end(tasks: Iterable[_Task], error: Exception) -> None:
    for task in tasks:
        task.future.set_exception(error)


def _is_late(error: Exception) -> bool:
    return isinstance(error, StatusError) and error.status.code is Code.DEADLINE_EXCEEDED


def _joined(futures: Sequence[Future[dict[str, np.ndarray]]]) -> Future[dict[str, np.ndarray]]:
    """Return what comes when all pieces of a call have come: their outputs, one after the other."""
    joined: Future[dict[str, np.ndarray]] = Future()
    left = len(futures)
    counting = threading.Lock()

    def join() -> dict[str, np.ndarray]:
        results = [future.result() for future in futures]
        return {alias: np.concatenate([result[alias] for result in results]) for alias in results[0]}

    def count(_: Future[Any]) -> None:
        nonlocal left
        with counting:
            left -= 1
            is_last = not left
        if is_last and joined.set_running_or_notify_cancel():
            _settle(joined, join)

    for future in futures:
        future.add_done_callback(count)
    return joined
