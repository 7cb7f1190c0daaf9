"""Batches, on a computation that records what it is given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradwire._errors import ServerError, UsageError
from gradwire_serving import ServerOptions
from gradwire_serving._config.batching import batching_of, read_batching
from gradwire_serving._core import BatchingParameters, deadline_exceeded, invalid_argument
from gradwire_serving._core.batching import Batchable, Batcher

PATIENCE = 60.0  # seconds until a result that does not come counts as a failure
AN_HOUR = 3600.0


class Doubling:
    """y = 2 x, refused where x has a 13; it waits while ``held`` is not set."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.timeouts: list[float | None] = []
        self.threads: list[threading.Thread] = []
        self.too_slow = float("nan")  # a value with which it takes longer than it may
        self.held = threading.Event()
        self.held.set()
        self.begun = threading.Semaphore(0)

    def __call__(self, arrays: Mapping[str, np.ndarray], timeout: float | None) -> dict[str, np.ndarray]:
        self.shapes.append(arrays["x"].shape)
        self.timeouts.append(timeout)
        self.threads.append(threading.current_thread())
        self.begun.release()
        assert self.held.wait(PATIENCE)
        if (arrays["x"] == 13).any():
            raise invalid_argument("13")
        if (arrays["x"] == self.too_slow).any():
            raise deadline_exceeded()
        return {"y": 2 * arrays["x"]}


class Calls:
    """A batcher of one computation."""

    def __init__(self, run: Doubling, **parameters: Any) -> None:
        self.run = run
        self.batcher = Batcher(BatchingParameters(**parameters))

    def submit(self, x: object, *, deadline: float | None = None, fixed: bool = False) -> Future[dict[str, np.ndarray]]:
        array = np.array(x, np.float32)
        what = Batchable(self.run, {"x": (-1,) * array.ndim}, fixed_outputs=fixed)
        return self.batcher.submit("s", what, ("y",), {"x": array}, deadline)

    def hold(self) -> Future[list[Any]]:
        """Have a batch of one row computed by its caller, another thread, and hold it there."""
        self.run.held.clear()
        result: Future[list[Any]] = Future()
        threading.Thread(target=lambda: result.set_result(_y(self.submit([[1]]))), daemon=True).start()
        assert self.run.begun.acquire(timeout=PATIENCE)
        return result


@pytest.fixture
def run() -> Doubling:
    """The computation of the test's batcher."""
    return Doubling()


@pytest.fixture
def calls(run: Doubling) -> Iterator[Callable[..., Calls]]:
    """Makes a batcher by its parameters; by default its batches are computed when they are full."""
    made = []

    def make(**parameters: Any) -> Calls:
        made.append(Calls(run, **({"batch_timeout": AN_HOUR} | parameters)))
        return made[-1]

    yield make
    run.held.set()
    for each in made:
        each.batcher.close()


def _y(future: Future[dict[str, np.ndarray]]) -> list[Any]:
    return future.result(PATIENCE)["y"].tolist()


def test_calls_are_joined_and_split(calls, run: Doubling):
    """Three calls of one, two and one row are one computation of four, and each gets its own rows."""
    batch = calls(max_batch_size=4)
    futures = [batch.submit(x) for x in ([[1]], [[2], [3]], [[4]])]
    assert [_y(future) for future in futures] == [[[2]], [[4], [6]], [[8]]]
    assert run.shapes == [(4, 1)]


def test_a_batch_does_not_wait_longer_than_its_time(calls, run: Doubling):
    """A call alone is computed when the time is over."""
    assert _y(calls(max_batch_size=4, batch_timeout=0.05).submit([[1]])) == [[2]]
    assert run.shapes == [(1, 1)]


def test_a_batch_is_filled_up_to_an_allowed_size(calls, run: Doubling):
    """Three rows are computed as eight, and come back as three."""
    batch = calls(max_batch_size=16, allowed_batch_sizes=(8, 16), batch_timeout=0.0)
    assert _y(batch.submit([[1], [2], [3]])) == [[2], [4], [6]]
    assert run.shapes == [(8, 1)]


def test_other_shapes_and_dtypes_are_other_batches(calls, run: Doubling):
    """A call of another row shape is neither joined nor refused."""
    batch = calls(max_batch_size=2)
    narrow, wide = batch.submit([[1]]), batch.submit([[1, 2], [3, 4]])
    assert _y(wide) == [[2, 4], [6, 8]]
    assert not narrow.done()
    assert [_y(batch.submit([[5]])), _y(narrow)] == [[[10]], [[2]]]
    assert run.shapes == [(2, 2), (2, 1)]


def test_a_fault_reaches_its_own_call_alone(calls, run: Doubling):
    """A batch that fails is computed again, each call by itself: only the one at fault gets the error."""
    batch = calls(max_batch_size=3)
    good, bad, other = (batch.submit([[x]]) for x in (1, 13, 3))
    assert [_y(good), _y(other)] == [[[2]], [[6]]]
    with pytest.raises(ServerError, match="13"):
        bad.result(PATIENCE)
    assert run.shapes == [(3, 1), (1, 1), (1, 1), (1, 1)]


def test_no_rows_are_answered_at_once(calls):
    """Nothing to join: an empty result comes back at once, and hinders nobody."""
    future = calls(max_batch_size=4).submit(np.zeros((0, 3)))
    assert future.done()
    assert future.result()["y"].shape == (0, 3)


def test_larger_calls_are_cut_where_that_is_configured(calls, run: Doubling):
    """Five rows in batches of two at most come back as five, in order."""
    batch = calls(max_batch_size=8, max_execution_batch_size=2, batch_timeout=0.0, num_batch_threads=1)
    assert _y(batch.submit([[1], [2], [3], [4], [5]])) == [[2], [4], [6], [8], [10]]
    assert run.shapes == [(2, 1), (2, 1), (1, 1)]


def test_open_dimensions_are_filled_where_that_is_configured(calls, run: Doubling):
    """Rows of two and of three are joined as three, the shorter filled with its first element."""
    batch = calls(max_batch_size=2, pad_variable_length_inputs=True)
    short, long = batch.submit([[7, 2]]), batch.submit([[1, 2, 3]])
    assert [_y(short), _y(long)] == [[[14, 4, 14]], [[2, 4, 6]]]
    assert run.shapes == [(2, 3)]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (7, "input tensors must have at least one dimension"),
        ([[1]] * 5, "Task size 5 is larger than maximum input batch size 4"),
    ],
)
def test_what_cannot_be_batched_is_refused(calls, x: object, message: str):
    """The texts are the real server's."""
    with pytest.raises(ServerError, match=message):
        calls(max_batch_size=4).submit(x)


def test_an_output_of_a_fixed_length_is_not_split(calls):
    """Rows of an output that has none for each row of the input would go to the wrong callers."""
    with pytest.raises(ServerError, match="does not equal the sum") as caught:
        calls(batch_timeout=0.0).submit([[1]], fixed=True).result(PATIENCE)
    assert caught.value.code == "FAILED_PRECONDITION"


def test_a_call_alone_is_computed_by_its_own_thread(calls, run: Doubling):
    """Nothing else waits or is computed: the result is there at once."""
    assert calls(batch_timeout=0.0).submit([[1]]).done()
    assert run.threads == [threading.current_thread()]


@pytest.mark.parametrize(("threads", "computed"), [(1, 1), (2, 2)])
def test_no_more_batches_run_than_threads_are_allowed(calls, run: Doubling, threads: int, computed: int):
    """A batch that its caller computes counts as well; the ones that wait meanwhile are joined."""
    batch = calls(max_batch_size=4, num_batch_threads=threads, batch_timeout=0.0)
    first = batch.hold()
    others = [batch.submit([[2]])]
    if computed > 1:
        assert run.begun.acquire(timeout=PATIENCE)
    others += [batch.submit([[3]]), batch.submit([[4]])]
    assert not run.begun.acquire(timeout=0.1)
    run.held.set()
    assert [first.result(PATIENCE), *map(_y, others)] == [[[2]], [[4]], [[6]], [[8]]]
    assert [rows for rows, _ in run.shapes] == ([1, 3] if threads == 1 else [1, 1, 2])


def test_a_full_queue_is_unavailable(calls, run: Doubling):
    """One batch is computed and two wait; the next is refused at once, in the real server's words."""
    batch = calls(max_batch_size=1, num_batch_threads=1, max_enqueued_batches=2)
    first = batch.hold()
    waiting = [batch.submit([[2]]), batch.submit([[3]])]
    with pytest.raises(ServerError, match=r"queue .* is full; currently 2 batches enqueued and .* is 2") as caught:
        batch.submit([[4]])
    assert caught.value.code == "UNAVAILABLE"
    run.held.set()
    assert [first.result(PATIENCE), *map(_y, waiting)] == [[[2]], [[4]], [[6]]]


def test_late_and_cancelled_calls_are_not_computed(calls, run: Doubling):
    """Of three calls in a batch one is late and one cancelled: the third is computed alone, within its own time."""
    batch = calls(max_batch_size=1, num_batch_threads=1, batch_timeout=0.0)
    batch.hold()
    late = batch.submit([[2]], deadline=time.monotonic())
    cancelled, good = batch.submit([[3]]), batch.submit([[4]], deadline=time.monotonic() + 1000)
    assert cancelled.cancel()
    run.held.set()
    assert _y(good) == [[8]]
    with pytest.raises(ServerError, match="Deadline Exceeded"):
        late.result(PATIENCE)
    assert run.shapes == [(1, 1), (1, 1)]
    assert run.timeouts[0] is None
    assert 900 < (run.timeouts[1] or 0) <= 1000


def test_a_slow_call_does_not_take_its_neighbours_time(calls, run: Doubling):
    """A batch has the time of the call with the least; when that is over, the others are computed without it."""
    batch = calls(max_batch_size=4)
    now = time.monotonic()
    slow = batch.submit([[7]], deadline=now + 1000)
    run.too_slow = 7.0
    others = [batch.submit([[x]], deadline=deadline) for x, deadline in ((1, now + 3000), (2, None), (3, now + 2000))]
    assert [_y(future) for future in others] == [[[2]], [[4]], [[6]]]
    with pytest.raises(ServerError, match="Deadline Exceeded"):
        slow.result(PATIENCE)
    assert run.shapes == [(4, 1), (3, 1)]
    assert [round((timeout or 0) / 1000) for timeout in run.timeouts] == [1, 2]


def test_a_batch_of_slow_calls_alone_ends(calls, run: Doubling):
    """All of them at their deadline, and nothing is computed again."""
    batch = calls(max_batch_size=2)
    run.too_slow = 7.0
    deadline = time.monotonic() + 1000
    for future in [batch.submit([[7]], deadline=deadline) for _ in range(2)]:
        with pytest.raises(ServerError, match="Deadline Exceeded"):
            future.result(PATIENCE)
    assert run.shapes == [(2, 1)]


def test_each_calls_wait_is_counted(run: Doubling):
    """From the call to its batch, by the threads' name, for the metric of the queue."""
    waits = []
    parameters = BatchingParameters(batch_timeout=AN_HOUR, max_batch_size=2, thread_pool_name="t")
    batcher = Batcher(parameters, lambda name, seconds: waits.append((name, seconds)))
    what = Batchable(run, {"x": (-1, -1)}, fixed_outputs=False)
    began = time.monotonic()
    futures = [batcher.submit("s", what, ("y",), {"x": np.ones((1, 1))}, None) for _ in range(2)]
    assert [_y(future) for future in futures] == [[[2]], [[2]]]
    batcher.close()
    (first, longer), (second, shorter) = waits
    assert first == second == "t"
    assert 0 <= shorter <= longer <= time.monotonic() - began


def test_closing_ends_the_calls_that_wait(calls):
    """A model that is unloaded leaves no caller without a status."""
    batch = calls(max_batch_size=2)
    waiting = batch.submit([[1]])
    batch.batcher.close()
    with pytest.raises(ServerError, match="unloaded"):
        waiting.result(PATIENCE)
    with pytest.raises(ServerError, match="unloaded"):
        batch.submit([[1]])


def test_the_parameters_file_is_read(tmp_path: Path):
    """Every field of TensorFlow Serving's text has its place, and the projects' own file is one."""
    file = tmp_path / "b"
    file.write_text(
        "max_batch_size { value: 64 } batch_timeout_micros { value: 300000 } num_batch_threads { value: 2 } "
        "max_enqueued_batches { value: 100 } allowed_batch_sizes: 8 allowed_batch_sizes: 32 "
        "pad_variable_length_inputs: true enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 32 } thread_pool_name { value: 'x' }"
    )
    assert read_batching(file) == BatchingParameters(
        max_batch_size=64,
        batch_timeout=0.3,
        num_batch_threads=2,
        max_enqueued_batches=100,
        allowed_batch_sizes=(8, 32),
        pad_variable_length_inputs=True,
        max_execution_batch_size=32,
        thread_pool_name="x",
    )
    assert read_batching(Path(__file__).parents[2] / "serving" / "batching.config").batch_size == 65536


def test_batching_is_of_the_server_or_of_a_package(tmp_path: Path):
    """Per-model parameters lie in a version; a version without is not batched."""
    options = {"directory": tmp_path, "enable_batching": True}
    assert batching_of(ServerOptions(directory=tmp_path)) is None
    of_all = batching_of(ServerOptions(**options))
    assert of_all is not None
    assert of_all(tmp_path) == BatchingParameters()
    of_package = batching_of(ServerOptions(**options, enable_per_model_batching_parameters=True))
    assert of_package is not None
    assert of_package(tmp_path) is None
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 4 }")
    assert of_package(tmp_path) == BatchingParameters(max_batch_size=4)


def test_parameters_without_batching_are_refused(tmp_path: Path):
    """As the real server does, so that nobody believes that calls are batched."""
    with pytest.raises(UsageError, match="without --enable_batching"):
        batching_of(ServerOptions(directory=tmp_path, batching_parameters_file="b"))
