"""The limit of calls at once, and its clean end."""

import threading

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
