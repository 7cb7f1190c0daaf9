"""The limit of calls at once, and its clean end."""

import threading
import time

import pytest

from gradwire._errors import ServerError
from gradwire_serving._core import ConcurrencyLimit

PATIENCE = 60.0  # seconds until something that does not happen counts as a failure


def test_one_call_too_many_is_refused_and_a_slot_is_freed():
    """The refusal is immediate and in Serving's words; a call that ended makes room, also when it failed."""
    limit = ConcurrencyLimit(2)
    with limit.slot(), limit.slot():
        with pytest.raises(ServerError, match=r"^Server Threadpool Exhausted$") as caught, limit.slot():
            pass
        assert caught.value.code == "RESOURCE_EXHAUSTED"
    with pytest.raises(ZeroDivisionError), limit.slot():
        _ = 1 / 0
    with limit.slot(), limit.slot():
        pass


def test_a_closed_limit_refuses_and_waits_for_running_calls():
    """Closing refuses at once, returns when the last call has ended, and no sooner."""
    limit, closed = ConcurrencyLimit(2), threading.Event()

    def close():
        limit.close(grace=PATIENCE)
        closed.set()

    closer = threading.Thread(target=close)
    with limit.slot():
        closer.start()
        refusal = _refusal(limit)
        assert (refusal.code, str(refusal)) == ("UNAVAILABLE", "the server is stopping")
        assert not closed.wait(0.1)
    assert closed.wait(PATIENCE)
    closer.join()


def _refusal(limit: ConcurrencyLimit) -> ServerError:
    """Takes slots until another thread has closed the limit."""
    while True:
        try:
            with limit.slot():
                pass
        except ServerError as error:
            return error


def test_the_wait_of_a_closing_limit_has_an_end():
    """A call that does not end is not waited for beyond the grace."""
    limit = ConcurrencyLimit(1)
    with limit.slot():
        limit.close(grace=0.05)
        with pytest.raises(ServerError, match="stopping"), limit.slot():
            pass


def test_calls_wait_for_their_turn_up_to_a_bound():
    """Of three calls one runs and one waits, until the deadline or its turn; the third is refused."""
    limit, turns = ConcurrencyLimit(1, waiting=1), threading.Semaphore(0)

    def run():
        with limit.slot():
            turns.release()

    with limit.slot():
        waiter = threading.Thread(target=run)
        waiter.start()
        while limit._admitted < 2:
            threading.Event().wait(0.01)
        with pytest.raises(ServerError, match="Threadpool Exhausted"), limit.admission():
            pass
        assert not turns.acquire(timeout=0.05)
    assert turns.acquire(timeout=PATIENCE)
    waiter.join()
    late = pytest.raises(ServerError, match="Deadline Exceeded")
    with limit.slot(), limit.admission(), late, limit.turn(time.monotonic() + 0.01):
        pass
    with limit.slot():
        pass


def test_a_call_that_waits_for_something_else_leaves_its_turn():
    """An admitted call out of its turn counts, and another runs."""
    limit = ConcurrencyLimit(1, waiting=1)
    with limit.admission(), limit.slot(), pytest.raises(ServerError, match="Exhausted"), limit.admission():
        pass
