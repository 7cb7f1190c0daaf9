"""What is sent, again, and how many at once: decided with no socket and no clock."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
from gradwire import Address, Call, Signature, TensorSpec
from gradwire._grpc.call import Chunk
from gradwire._grpc.chunking import MessageLimits
from gradwire._grpc.limiter import AimdLimiter
from gradwire._grpc.scheduler import CallScheduler
from gradwire._grpc.status import RpcStatus
from gradwire._wire import PredictCodec, proto
from gradwire._wire.tensor import decode, encode

GONE = RpcStatus(grpc.StatusCode.UNAVAILABLE, "Socket closed")
FULL = RpcStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
BROKEN = RpcStatus(grpc.StatusCode.INTERNAL, "broken")
SPEC = {name: TensorSpec(name, "float64", (None, 1)) for name in ("x", "f")}
DOUBLE = Signature("double", {"x": SPEC["x"]}, {"f": SPEC["f"]})


def call(rows: int, start: float = 0.0) -> Call:
    """A call of so many rows."""
    return Call(DOUBLE, {"x": start + np.arange(float(rows))[:, None]})


def _answer(data: bytes, version: int = 1) -> bytes:
    """What the server answers to a request: 2x."""
    request = proto.PredictRequest.FromString(data)
    answer = proto.PredictResponse()
    answer.model_spec.version.value = version
    encode(2 * decode(request.inputs["x"], "x"), "float64", answer.outputs["f"])
    return answer.SerializeToString()


class Bench:
    """A flight whose messages hold ten rows, and a server that answers 2x when it is told to."""

    def __init__(self, *, in_flight: int = 3, limiter: AimdLimiter | None = None, timeout: float = 10.0) -> None:
        self.woken = 0
        self.limiter = limiter or AimdLimiter()
        self.limits = MessageLimits(80)
        self.scheduler = CallScheduler(
            PredictCodec(Address("a:1", "double")),
            self.limits,
            self.limiter,
            timeout=timeout,
            in_flight=in_flight,
            wake=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1

    def launch(self, now: float = 0.0) -> list[tuple[Chunk, bytes]]:
        """What is sent now."""
        return [(sent.chunk, sent.data) for sent in self.scheduler.next_requests(now)]

    def answer(self, sent: tuple[Chunk, bytes], version: int = 1) -> None:
        """Answers a message."""
        self.scheduler.release(sent[0], None)
        self.scheduler.on_response(sent[0], _answer(sent[1], version))

    def fail(self, sent: tuple[Chunk, bytes], fault: RpcStatus, now: float) -> None:
        """Fails a message."""
        self.scheduler.release(sent[0], fault)
        self.scheduler.on_failure(sent[0], fault, now)

    def finished(self) -> list[Any]:
        """The answers that are handed over now, as lists."""
        return [answer["f"][:, 0].tolist() for answer in self.scheduler.completed()]


@pytest.mark.parametrize("order", [1, -1])
def test_answers_in_any_order(order: int):
    """Pieces land as they come, each in its place; no more than allowed are under way."""
    bench = Bench()
    bench.scheduler.add(call(100), 0.0)
    count = 0
    while sent := bench.launch():
        assert len(sent) <= 3
        count += len(sent)
        for one in sent[::order]:
            bench.answer(one)
    assert count == 10
    assert bench.finished() == [list(range(0, 200, 2))]
    assert bench.scheduler.is_empty


def test_calls_are_handed_over_in_order():
    """A call that is done before its turn waits for those before it; more calls are taken while there is room."""
    bench = Bench()
    for start in (0.0, 100.0, 200.0):
        assert bench.scheduler.has_room
        bench.scheduler.add(call(2, start), 0.0)
        bench.launch()
    assert not bench.scheduler.has_room
    first, *others = sorted(bench.scheduler._sent, key=lambda chunk: chunk.call.call.inputs["x"][0, 0])
    for chunk in others:
        bench.answer((chunk, chunk.call.request(chunk.rows)))
    assert bench.finished() == []
    assert bench.scheduler.has_room
    bench.answer((first, first.call.request(first.rows)))
    assert bench.finished() == [[0.0, 2.0], [200.0, 202.0], [400.0, 402.0]]


def test_no_more_is_begun_than_is_held():
    """A stream whose first block hangs begins no more than twice as many blocks as are in flight."""
    bench = Bench(in_flight=2)
    bench.scheduler.add(call(1), 0.0)
    bench.launch()
    begun = 1
    while bench.scheduler.has_room:
        bench.scheduler.add(call(1, 50.0), 0.0)
        begun += 1
        for sent in bench.launch():
            bench.answer(sent)
    assert begun == 4


def test_no_rows_are_not_sent():
    """A call of no rows is done before anything is sent."""
    bench = Bench()
    bench.scheduler.add(call(0), 0.0)
    assert bench.launch() == []
    assert [dict(answer) for answer in bench.scheduler.completed()] == [{}]


def test_what_may_pass_is_sent_again_later():
    """After a pause that doubles, with jitter; the message is the same to the byte."""
    bench = Bench()
    bench.scheduler.add(call(5), 0.0)
    [first] = bench.launch()
    now, pauses = 0.0, []
    sent = first
    for _ in range(6):
        bench.fail(sent, GONE, now)
        assert bench.launch(now) == []
        pause = bench.scheduler.seconds_to_wait(now)
        assert pause is not None
        pauses.append(pause)
        now += pause
        [sent] = bench.launch(now)
        assert sent[1] == first[1]
    ceilings = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert all(top / 2 <= pause <= top for pause, top in zip(pauses, ceilings, strict=True))
    assert len({pause / top for pause, top in zip(pauses, ceilings, strict=True)}) > 1
    bench.answer(sent)
    assert bench.finished() == [[0.0, 2.0, 4.0, 6.0, 8.0]]


def test_no_pause_is_longer_than_two_seconds():
    """However often a server was gone, it is tried again soon after it is back."""
    bench = Bench(timeout=1e6)
    bench.scheduler.add(call(5), 0.0)
    [sent] = bench.launch()
    now, pauses = 0.0, []
    for _ in range(30):
        bench.fail(sent, GONE, now)
        pauses.append(bench.scheduler.seconds_to_wait(now))
        now += pauses[-1]
        [sent] = bench.launch(now)
    assert min(pauses[6:]) >= 1.0
    assert max(pauses) <= 2.0


def test_the_timeout_of_a_message_is_what_is_left_of_the_calls():
    """A message that is sent late has only the rest of the time, down to less than a millisecond, and never none."""
    bench = Bench()
    bench.scheduler.add(call(20), 0.0)
    first, *others = bench.scheduler.next_requests(3.0)
    assert first.timeout == 7.0
    bench.scheduler.add(call(20, 100.0), 3.0)
    for sent in (first, *others):
        bench.answer((sent.chunk, sent.data))
    late = list(bench.scheduler.next_requests(12.9995))
    assert [outgoing.timeout for outgoing in late] == [pytest.approx(0.0005)] * len(late)
    assert late


def test_a_message_without_a_word_is_given_up_soon_after_its_deadline():
    """Until then gRPC may say what was wrong; afterwards nothing will come of its channel."""
    bench = Bench()
    bench.scheduler.add(call(20), 0.0)
    sent = list(bench.scheduler.next_requests(3.0))
    assert sent
    assert bench.scheduler.seconds_to_wait(3.0) == pytest.approx(7.5)
    assert list(bench.scheduler.next_requests(10.4)) == []
    with pytest.raises(gradwire.DeadlineExceeded):
        list(bench.scheduler.next_requests(10.5))
    assert bench.scheduler.is_stuck


def test_no_pause_is_longer_than_the_time_left():
    """When another try would come too late, the error is what went wrong last, with the number of tries."""
    bench = Bench()
    bench.scheduler.add(call(5), 0.0)
    [sent] = bench.launch()
    bench.fail(sent, GONE, 9.0)
    [sent] = bench.launch(9.5)
    with pytest.raises(gradwire.ServerUnreachable, match=r"Socket closed, tried 2 times"):
        bench.fail(sent, GONE, 9.96)


def test_the_last_try_runs_into_the_deadline():
    """A deadline after a server that was full is told as what it is: the server is full."""
    bench = Bench()
    bench.scheduler.add(call(5), 0.0)
    [sent] = bench.launch()
    bench.fail(sent, FULL, 1.0)
    [sent] = bench.launch(5.0)
    with pytest.raises(gradwire.ServerError, match=r"Threadpool Exhausted, tried 2 times; raise --grpc_max"):
        bench.fail(sent, RpcStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "late"), 10.0)


def test_what_will_not_pass_ends_the_call():
    """An error of the server is not tried again, and its place is free."""
    bench = Bench()
    bench.scheduler.add(call(100), 0.0)
    sent = bench.launch()
    with pytest.raises(gradwire.ServerError, match="INTERNAL: broken"):
        bench.fail(sent[0], BROKEN, 0.0)
    bench.scheduler.close()
    assert bench.limiter.in_use == 0


def test_rows_are_cut_anew_where_the_server_takes_fewer():
    """A batch limit that is heard of cuts what failed and all that follows; what is under way may still come."""
    bench = Bench()
    bench.scheduler.add(call(40), 0.0)
    sent = bench.launch()
    words = "Task size 10 is larger than maximum input batch size 4"
    bench.fail(sent[0], RpcStatus(grpc.StatusCode.INVALID_ARGUMENT, words), 0.0)
    bench.answer(sent[1])
    bench.fail(sent[2], RpcStatus(grpc.StatusCode.INVALID_ARGUMENT, words), 0.0)
    sizes = []
    while again := bench.launch():
        sizes += [chunk.rows.size for chunk, _ in again]
        for one in again:
            bench.answer(one)
    assert max(sizes) <= 4
    assert bench.finished() == [list(range(0, 80, 2))]


def test_a_mixture_of_versions_is_asked_for_again():
    """When two versions have answered pieces of one call, all is asked for again, of the newer."""
    bench = Bench()
    bench.scheduler.add(call(20), 0.0)
    one, other = bench.launch()
    bench.answer(one, version=1)
    bench.answer(other, version=2)
    assert bench.finished() == []
    again = bench.launch()
    asked = [proto.PredictRequest.FromString(data).model_spec.version.value for _, data in again]
    assert asked == [2, 2]
    gone = RpcStatus(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(double, 2)")
    bench.fail(again[0], gone, 0.0)  # of several servers, one is not that far yet
    bench.answer(again[1], version=2)
    [last] = bench.launch(1.0)
    bench.answer(last, version=2)
    assert bench.finished() == [list(range(0, 40, 2))]


def test_a_driver_that_was_held_up_has_more_time():
    """Time in which an answer was used counts for no deadline."""
    bench = Bench()
    bench.scheduler.add(call(20), 0.0)
    bench.scheduler.extend_deadlines(100.0)
    assert len(bench.launch(105.0)) == 2
    bench.scheduler.add(call(5), 105.0)
    with pytest.raises(gradwire.DeadlineExceeded):
        bench.launch(120.0)


def test_a_message_that_ran_out_while_nobody_looked_is_sent_again():
    """Its deadline has gone by, but the call's was put off meanwhile; one that was looked after is too late."""
    bench = Bench()
    bench.scheduler.add(call(5), 0.0)
    [sent] = bench.launch()
    bench.scheduler.extend_deadlines(12.0)
    late = RpcStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
    bench.fail(sent, late, 12.0)
    [again] = bench.launch(13.0)
    with pytest.raises(gradwire.DeadlineExceeded, match="within 10 s"):
        bench.fail(again, late, 22.0)


@pytest.mark.parametrize(
    ("code", "details", "error", "message"),
    [
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", gradwire.ServerError, "--grpc_max_threads"),
        ("UNAVAILABLE", "The batch scheduling queue is full", gradwire.ServerError, "max_enqueued_batches"),
        ("UNAVAILABLE", "Socket closed", gradwire.ServerUnreachable, "Socket closed"),
    ],
)
def test_what_does_not_pass_in_time(code: str, details: str, error: type[gradwire.GradwireError], message: str):
    """What may pass is tried again until there is no more time for it, and then is what it was."""
    bench = Bench()
    bench.scheduler.add(call(5), 0.0)
    now, tries = 0.0, 0
    [sent] = bench.launch()
    with pytest.raises(error, match=message) as caught:  # noqa: PT012 - which try is the last is the point
        while True:
            tries += 1
            bench.fail(sent, RpcStatus(grpc.StatusCode[code], details), now)
            now += bench.scheduler.seconds_to_wait(now) or 0.0
            [sent] = bench.launch(now)
    assert f"tried {tries} times" in str(caught.value)
    assert 5 < now < 10
    assert bench.limiter.in_use == 0


def test_an_answer_that_does_not_fit():
    """A piece with a row too few is an error, not a shift of all that follow."""
    bench = Bench()
    bench.scheduler.add(call(20), 0.0)
    sent = bench.launch()
    answer = proto.PredictResponse()
    encode(np.zeros((9, 1)), "float64", answer.outputs["f"])
    with pytest.raises(gradwire.ServerError, match=r"the shape \(9, 1\), expected \(10, 1\)"):
        bench.scheduler.on_response(sent[0][0], answer.SerializeToString())


# -- the window


def test_the_window_halves_once_a_burst_and_grows_by_one_a_windowful():
    """Of 64 calls at once that a server of 7 places refuses, one burst halves the window; answers widen it again."""
    limiter = AimdLimiter()
    assert all(limiter.acquire() for _ in range(64))
    for _ in range(57):
        limiter.on_overload(0)
    assert limiter.limit == 32
    for _ in range(7):
        limiter.on_response()
    for _ in range(4):
        places = [limiter.acquire() for _ in range(64)]
        for _ in range(sum(places)):
            limiter.on_response()
    assert 35.5 < limiter.limit < 36.5
    assert limiter.in_use == 0


def test_the_window_finds_the_size_of_the_server():
    """Against a server of seven places, few calls are refused once the limiter knows it."""
    limiter, refused = AimdLimiter(), []
    for _ in range(40):
        epoch, taken = limiter.epoch, 0
        while taken < 64 and limiter.acquire():
            taken += 1
        for index in range(taken):
            limiter.on_response() if index < 7 else limiter.on_overload(epoch)
        refused.append(max(0, taken - 7))
    assert refused[0] == 57
    assert 3 < limiter.limit < 9
    assert sum(refused[-20:]) <= 8


def test_there_is_always_one_place():
    """However often a server refuses, one call at a time may try."""
    limiter = AimdLimiter()
    for _ in range(10):
        assert limiter.acquire()
        limiter.on_overload(limiter.epoch)
    assert limiter.limit == 1
    assert limiter.acquire()
    assert not limiter.acquire()


def test_places_go_to_those_who_wait_in_turn():
    """A place that becomes free is given to whoever waits longest, and to nobody who has left."""
    limiter, given = AimdLimiter(), []
    assert limiter.acquire()
    limiter.on_overload(0)
    assert limiter.acquire()
    guests = [lambda name=name: given.append(name) for name in "abc"]
    for guest in guests:
        limiter.enqueue(guest)
    limiter.withdraw(guests[0])
    assert not limiter.acquire()
    limiter.release()
    assert given == ["b"]
    limiter.withdraw(guests[1])  # it was given a place, and gives it back
    assert given == ["b", "c"]
    limiter.release()
    assert limiter.in_use == 0


def test_a_flight_waits_for_a_place():
    """A flight whose limiter is full sends when a place is given to it, or says in time that there was none."""
    limiter = AimdLimiter()
    assert limiter.acquire()
    limiter.on_overload(0)
    assert limiter.acquire()  # the one place there is
    bench, late = Bench(limiter=limiter), Bench(limiter=limiter)
    bench.scheduler.add(call(5), 0.0)
    late.scheduler.add(call(5), 0.0)
    assert bench.launch() == late.launch() == []
    assert late.scheduler.seconds_to_wait(4.0) == 6.0
    with pytest.raises(gradwire.DeadlineExceeded):
        late.launch(10.0)
    late.scheduler.close()
    limiter.release()
    assert bench.woken == 1
    assert late.woken == 0
    [sent] = bench.launch(1.0)
    bench.answer(sent)
    assert limiter.in_use == 0


def test_a_flight_that_is_not_looked_after_holds_no_place():
    """While an answer is used, those who wait for a place get those that are not needed."""
    limiter = AimdLimiter()
    assert limiter.acquire()
    limiter.on_overload(0)
    bench, given = Bench(limiter=limiter), []
    bench.scheduler.add(call(5), 0.0)
    bench.scheduler.add(call(5), 0.0)
    [sent] = bench.launch()  # the one place there is; the flight queues for another
    bench.scheduler.release(sent[0], None)  # the answer is there, and the place is given on: to the same flight
    assert bench.woken == 1
    bench.scheduler.on_response(sent[0], _answer(sent[1]))
    for _ in bench.scheduler.completed():
        limiter.enqueue(lambda: given.append("another"))
    assert given == ["another"]
    limiter.release()
    [sent] = bench.launch()
    bench.answer(sent)
    assert limiter.in_use == 0


def test_many_threads_share_a_window():
    """Places are neither lost nor given twice."""
    limiter, most, busy, lock = AimdLimiter(), 0, 0, threading.Lock()
    assert limiter.acquire()
    limiter._in_use, limiter._limit = 0, 3.0

    def work() -> None:
        nonlocal most, busy
        for _ in range(200):
            free = threading.Event()
            if not limiter.acquire():
                limiter.enqueue(free.set)
                free.wait()
            with lock:
                busy += 1
                most = max(most, busy)
            with lock:
                busy -= 1
            limiter.release()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert limiter.in_use == 0


@pytest.mark.parametrize(
    ("code", "words", "passes"),
    [
        ("UNAVAILABLE", "Socket closed", True),
        ("UNAVAILABLE", "the server is stopping", True),
        ("CANCELLED", "CANCELLED", True),
        ("INTERNAL", "Received RST_STREAM with error code 2", True),
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", True),
        ("RESOURCE_EXHAUSTED", "quota exceeded", False),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (16000096 vs. 4194304)", False),
        ("UNAVAILABLE", "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", False),
        ("UNAVAILABLE", "Failed parsing HTTP/2", False),
        ("UNAVAILABLE", "Getting metadata from plugin failed with error: no", False),
        ("INTERNAL", "XLA compilation disabled", False),
        ("INVALID_ARGUMENT", "Expects arg[0] to be float", False),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", False),
    ],
)
def test_what_may_pass(code: str, words: str, passes: bool):
    """What another try may cure is told from what it cannot."""
    assert RpcStatus(grpc.StatusCode[code], words).is_transient is passes


@pytest.mark.parametrize(
    ("code", "words", "rows"),
    [
        ("INVALID_ARGUMENT", "Task size 4096 is larger than maximum input batch size 1000", 1000),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (8000000 vs. 4000000)", 1843),
        ("RESOURCE_EXHAUSTED", "Sent message larger than max (4000001 vs. 4000000)", 2048),
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", None),
        ("INVALID_ARGUMENT", "Expects arg[0] to be float", None),
    ],
)
def test_how_many_rows_the_server_takes(code: str, words: str, rows: int | None):
    """Read from the recorded words of Serving and of gRPC."""
    assert RpcStatus(grpc.StatusCode[code], words).rows_allowed(4096) == rows
