"""Calls on their way to a server: what to send now, what to send again, what is done.

This is all that the synchronous and the asynchronous transport have in common, and nothing in it sends, waits or reads
a clock: a runner reports what happened and when, and does what it is told.

Failed messages are sent again here, and not by a library: gRPC's own policy (see ``channel``) knows neither that a
server is full, so that fewer messages should be sent at once, nor that one was too large, so that its rows should be
split, and gives up after five attempts at most; tenacity and its like wrap a function that sends and sleeps, one for
threads and one for event loops, and know no deadline that is shared by many messages.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, final

import grpc

from gradwire._errors import GradwireError
from gradwire._grpc.call import Chunk, ChunkedCall, Outgoing
from gradwire._grpc.chunking import MessageLimits
from gradwire._grpc.explain import explain
from gradwire._grpc.limiter import AimdLimiter
from gradwire._grpc.status import RpcStatus
from gradwire._wire import Call, PredictCodec, Prediction

# Two chunks keep the connection and the server busy at once, a third covers the time between; a stock Serving runs no
# more than 4 calls a core, for all of its callers.
IN_FLIGHT: Final = 3
AHEAD: Final = 2  # calls begun for each message in flight: so many does a stream hold in memory
FIRST_DELAY: Final = 0.05  # seconds before a message is sent again, doubled each time; gRPC has tried before
OVERLOAD_DELAY: Final = 0.005  # the same when the server was full: there one call more takes a millisecond
LONGEST_DELAY: Final = 2.0  # finds a restarted server so soon
GRACE: Final = 0.5  # seconds after its deadline at which a message without a word from gRPC is given up
_CANCELLED: Final = RpcStatus(grpc.StatusCode.CANCELLED, "by its caller")


@final
class CallScheduler:
    """Calls under way.

    Args:
        codec: writes the messages, to its address.
        limits: how much goes into a message.
        limiter: how many calls the server is sent at once.
        timeout: seconds for each call.
        in_flight: how many messages of this scheduler are under way at once.
        wake: called, from any thread, when a slot that the scheduler has waited for is free.

    Attributes:
        is_stuck: whether gRPC has not even said that a message's time is up: its channel is of no use any more.
    """

    def __init__(
        self,
        codec: PredictCodec,
        limits: MessageLimits,
        limiter: AimdLimiter,
        *,
        timeout: float,
        in_flight: int,
        wake: Callable[[], None],
    ) -> None:
        self._codec = codec
        self._address = codec.address
        self._limits = limits
        self._limiter = limiter
        self._timeout = timeout
        self._in_flight = in_flight
        self._wake = wake
        self.is_stuck = False
        self._calls: deque[ChunkedCall] = deque()  # those not handed over, in order
        self._retries: list[Chunk] = []  # to be sent another time
        self._sent: set[Chunk] = set()
        self._in_slots: set[Chunk] = set()  # those that hold a slot; other threads take them out
        self._is_queued = False  # whether it waits for a slot
        self._is_granted = False  # whether it has been given one

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing left to do."""
        return not self._calls

    @property
    def has_room(self) -> bool:
        """Whether another call may be begun."""
        return (
            len(self._calls) < AHEAD * self._in_flight
            and len(self._sent) + len(self._retries) < self._in_flight
            and not any(call.has_unsent for call in self._calls)
        )

    def add(self, call: Call, now: float) -> None:
        """Begin a call; one of no rows is done at once."""
        self._calls.append(ChunkedCall(call, now + self._timeout, self._codec))

    def add_failed(self, call: Call, status: RpcStatus, *, began: float, now: float, epoch: int) -> None:
        """Take over a call that was sent whole, in a slot taken outside of this scheduler, and failed.

        Raises:
            GradwireError: nothing helps, or not in time.
        """
        self.add(call, began)
        chunk = Chunk(self._calls[-1], self._calls[-1].take(), epoch=epoch)
        self._in_slots.add(chunk)
        self.release(chunk, status)
        self.on_failure(chunk, status, now)

    def next_requests(self, now: float) -> Iterator[Outgoing]:
        """Yield the messages to send now, each built when it is requested.

        Raises:
            GradwireError: a call's time is up before all of it was sent, or gRPC gives no sign of a message.
        """
        sent = {chunk.call for chunk in self._sent}  # gRPC ends their messages at their deadlines
        for call in self._unfinished_calls():
            if call.deadline <= now and call not in sent:
                raise self._too_late(call)
        for chunk in self._sent:
            if chunk.call.deadline + GRACE <= now:
                self.is_stuck = True
                raise self._too_late(chunk.call)
        while len(self._sent) < self._in_flight and self._has_ready(now) and self._take_slot():
            chunk = self._next_chunk(now)
            self._sent.add(chunk)
            self._in_slots.add(chunk)
            data = chunk.call.request(chunk.rows)
            span = chunk.call.call.span
            if span is not None and chunk.tries == 1:
                span.chunks += 1
            metadata = () if span is None else span.metadata
            yield Outgoing(chunk, data, max(0.0, chunk.call.deadline - now), metadata)

    def release(self, chunk: Chunk, status: RpcStatus | None) -> None:
        """Give back the slot of a message; from any thread, as soon as it has come to an end.

        A runner may be held up, by whoever uses a prediction, before it calls ``on_response`` or ``on_failure``: nobody
        else shall wait for that.

        Args:
            chunk: its rows.
            status: why there was no response; None where there was one.
        """
        try:
            self._in_slots.remove(chunk)
        except KeyError:
            return  # given back by close()
        if status is None:
            self._limiter.on_response()
        elif status.is_overload:
            self._limiter.on_overload(chunk.epoch)
        else:
            self._limiter.release()

    def on_response(self, chunk: Chunk, data: bytes) -> None:
        """Take in a response.

        Raises:
            ServerError: it does not fit the request.
        """
        self._sent.discard(chunk)
        chunk.call.store(chunk.rows, data)

    def on_failure(self, chunk: Chunk, status: RpcStatus, now: float) -> None:
        """Take in that a message had no response: its rows are sent again, later or in smaller chunks.

        Raises:
            GradwireError: nothing helps, or not in time.
        """
        self._sent.discard(chunk)
        call, rows = chunk.call, chunk.rows.size
        allowed = status.rows_allowed(rows)
        if allowed is not None and rows > 1 and self._limits.most_rows(call.call) is not None:
            self._limits.learn(call.call.signature.name, min(allowed, rows - 1))
            _note_retry(chunk, status)
            call.put_back(chunk.rows)
            return
        # Behind an address of several servers, one may not have the version yet that another has responded with.
        has_moved = call.has_fixed_version and status.code is grpc.StatusCode.NOT_FOUND
        is_late = status.code is grpc.StatusCode.DEADLINE_EXCEEDED
        if is_late and not (call.was_extended and now < call.deadline):
            raise self._too_late(call, chunk.tries)
        if not (status.is_transient or has_moved or is_late):
            raise explain(status, self._address, self._timeout, call.call.rows, chunk.tries)
        call.last_failure = status
        first = OVERLOAD_DELAY if status.is_overload else FIRST_DELAY
        delay = random.uniform(0.5, 1) * min(LONGEST_DELAY, first * 2 ** (chunk.tries - 1))  # noqa: S311 - jitter
        if now + delay >= call.deadline:
            raise self._too_late(call, chunk.tries)
        _note_retry(chunk, status)
        self._retries.append(replace(chunk, tries=chunk.tries + 1, not_before=now + delay))

    def completed(self) -> Iterator[Prediction]:
        """Yield the predictions that are complete, in the order of the calls, and wait for no slot meanwhile."""
        while self._calls and self._calls[0].is_done:
            self._leave_queue()
            yield self._calls.popleft().prediction

    def extend_deadlines(self, seconds: float) -> None:
        """Extend deadlines by the time that the runner was busy elsewhere, with nobody to look after the calls."""
        for call in self._calls:
            call.extend_deadline(seconds)

    def seconds_to_wait(self, now: float) -> float | None:
        """Return after how many seconds there is something to do, even if nothing happens; None for never."""
        if self._is_queued:
            times = [call.deadline for call in self._unfinished_calls()]
        elif len(self._sent) < self._in_flight:
            times = [chunk.not_before for chunk in self._retries]
        else:
            times = []
        times += [chunk.call.deadline + GRACE for chunk in self._sent]
        return max(0.0, min(times) - now) if times else None

    def close(self) -> None:
        """Give back the slots; the runner has cancelled what was under way."""
        self._leave_queue()
        for chunk in self._sent:
            self.release(chunk, _CANCELLED)
        self._sent.clear()

    def _take_slot(self) -> bool:
        if self._is_granted:
            self._is_granted = self._is_queued = False
            return True
        if self._is_queued:
            return False
        if self._limiter.acquire():
            return True
        self._is_queued = True
        self._limiter.enqueue(self._on_grant)
        return False

    def _leave_queue(self) -> None:
        if self._is_queued:
            self._limiter.withdraw(self._on_grant)
            self._is_granted = self._is_queued = False

    def _on_grant(self) -> None:
        self._is_granted = True
        self._wake()

    def _unfinished_calls(self) -> list[ChunkedCall]:
        """The calls of which something is to be sent."""
        return [call for call in self._calls if call.has_unsent] + [chunk.call for chunk in self._retries]

    def _has_ready(self, now: float) -> bool:
        return any(chunk.not_before <= now for chunk in self._retries) or any(call.has_unsent for call in self._calls)

    def _next_chunk(self, now: float) -> Chunk:
        epoch = self._limiter.epoch
        for chunk in self._retries:
            if chunk.not_before <= now:
                self._retries.remove(chunk)
                return replace(chunk, epoch=epoch)
        call = next(call for call in self._calls if call.has_unsent)
        return Chunk(call, call.take(self._limits), epoch=epoch)

    def _too_late(self, call: ChunkedCall, tries: int = 1) -> GradwireError:
        """The error when the time is up: what has kept the call from succeeding, where that is known."""
        status = call.last_failure or RpcStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        return explain(status, self._address, self._timeout, call.call.rows, tries)


def _note_retry(chunk: Chunk, status: RpcStatus) -> None:
    if chunk.call.call.span is not None:
        chunk.call.call.span.on_retry(status, chunk.rows.size)
