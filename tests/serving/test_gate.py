"""The gate: a limit of calls at once, and a clean end."""

import threading
import time

import pytest

from gradwire._errors import ServerError
from gradwire_serving._grpc.concurrency_limit import Gate


def test_one_call_too_many_is_refused_and_a_place_is_given_back():
    """The refusal is immediate and in Serving's words; a call that ended makes room, also when it failed."""
    gate = Gate(2)
    with gate.passing(), gate.passing():
        with pytest.raises(ServerError, match=r"^Server Threadpool Exhausted$") as caught, gate.passing():
            pass
        assert caught.value.code == "RESOURCE_EXHAUSTED"
    with pytest.raises(ZeroDivisionError), gate.passing():
        _ = 1 / 0
    with gate.passing(), gate.passing():
        pass


def test_a_closed_gate_refuses_and_waits_for_those_inside():
    """Closing returns when the last call has ended, and no sooner; later calls are told that the server stops."""
    gate, inside, ended = Gate(2), threading.Event(), []

    def call():
        with gate.passing():
            inside.set()
            time.sleep(0.2)
            ended.append(True)

    worker = threading.Thread(target=call)
    worker.start()
    inside.wait()
    gate.close(grace=30)
    assert ended == [True]
    with pytest.raises(ServerError, match="stopping") as caught, gate.passing():
        pass
    assert caught.value.code == "UNAVAILABLE"
    worker.join()


def test_the_wait_of_a_closing_gate_has_an_end():
    """A call that does not end is not waited for beyond the grace."""
    gate = Gate(1)
    with gate.passing():
        gate.close(grace=0.05)
        with pytest.raises(ServerError, match="stopping"), gate.passing():
            pass
