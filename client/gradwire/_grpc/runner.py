"""Carries out the calls of a scheduler with threads: sends its messages, waits, and reports what came back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, final

import grpc

from gradwire._grpc.call import Chunk, Outgoing
from gradwire._grpc.fork import GATE
from gradwire._grpc.scheduler import CallScheduler
from gradwire._grpc.status import RpcStatus
from gradwire._wire import Call, Prediction

if TYPE_CHECKING:
    _Send = Callable[[Outgoing], grpc.Future[bytes]]
    _Pending = dict[Chunk, grpc.Future[bytes]]


@final
class Events:
    """What a runner waits for: messages that have come to an end, and slots that have become free."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Chunk | None] = SimpleQueue()

    def on_end(self, chunk: Chunk) -> None:
        """Note that a message has a response or has failed."""
        self._queue.put(chunk)

    def wake(self) -> None:
        """Note that a slot has become free."""
        self._queue.put(None)

    def wait(self, seconds: float | None) -> Chunk | None:
        """Wait for the next event; None for a free slot, or when the time is up."""
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return None


def run_calls(scheduler: CallScheduler, events: Events, send: _Send, calls: Iterator[Call]) -> Iterator[Prediction]:
    """Carry out calls.

    Args:
        scheduler: with calls in it already, or without.
        events: those that wake the scheduler.
        send: starts a message.
        calls: further calls, taken as there is room for them.

    Yields:
        The predictions, in order. While one is used, no deadline runs.

    Raises:
        GradwireError: of the first call that failed for good; those under way are cancelled.
    """
    pending: _Pending = {}
    has_more = True
    try:
        while has_more or not scheduler.is_empty:
            while has_more and scheduler.has_room:
                has_more = _begin_call(scheduler, calls)
                _send_requests(scheduler, events, send, pending)
            _send_requests(scheduler, events, send, pending)
            for prediction in scheduler.completed():
                began = time.monotonic()
                yield prediction
                scheduler.extend_deadlines(time.monotonic() - began)
            if pending or not scheduler.is_empty:
                _take_event(scheduler, events, pending)
    finally:
        for chunk, future in pending.items():
            future.cancel()
            GATE.leave(chunk)  # a channel that is stuck will not say so
        scheduler.close()


def _begin_call(scheduler: CallScheduler, calls: Iterator[Call]) -> bool:
    began = time.monotonic()
    call = next(calls, None)
    now = time.monotonic()
    scheduler.extend_deadlines(now - began)
    if call is not None:
        scheduler.add(call, now)
    return call is not None


def _send_requests(scheduler: CallScheduler, events: Events, send: _Send, pending: _Pending) -> None:
    for outgoing in scheduler.next_requests(time.monotonic()):
        chunk = outgoing.chunk
        GATE.enter(chunk)
        try:
            pending[chunk] = send(outgoing)
        except BaseException:
            GATE.leave(chunk)
            raise
        pending[chunk].add_done_callback(partial(_on_end, scheduler, events, chunk))


def _on_end(scheduler: CallScheduler, events: Events, chunk: Chunk, future: grpc.Future[bytes]) -> None:
    """Called by gRPC, in a thread of its own."""
    GATE.leave(chunk)
    scheduler.release(chunk, _failure(future))
    events.on_end(chunk)


def _failure(future: Any) -> RpcStatus | None:
    """Read how an RPC ended; gRPC's futures are its calls as well, which their type does not say."""
    code = future.code()
    return None if code is grpc.StatusCode.OK else RpcStatus(code, future.details() or "no message")


def _take_event(scheduler: CallScheduler, events: Events, pending: _Pending) -> None:
    chunk = events.wait(scheduler.seconds_to_wait(time.monotonic()))
    if chunk is None:
        return
    future = pending.pop(chunk)
    status = _failure(future)
    if status is None:
        scheduler.on_response(chunk, future.result())
    else:
        scheduler.on_failure(chunk, status, time.monotonic())
