"""Carries out a flight with threads: sends what it says, waits, and tells it what came."""

from __future__ import annotations

import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, final

import grpc

from gradwire._grpc.status import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradwire._grpc.piece import Piece
    from gradwire._grpc.scheduler import Flight
    from gradwire._wire import Call, Prediction

    _Send = Callable[[bytes, float], grpc.Future[bytes]]


@final
class Events:
    """What a driver waits for: messages that have come to an end, and places that have become free."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Piece | None] = SimpleQueue()

    def ended(self, piece: Piece) -> None:
        """Notes that a message has an answer or has failed."""
        self._queue.put(piece)

    def wake(self) -> None:
        """Notes that a place has become free."""
        self._queue.put(None)

    def wait(self, seconds: float | None) -> Piece | None:
        """Waits for the next event; None for a free place, or when the time is up."""
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return None


def drive(flight: Flight, events: Events, send: _Send, calls: Iterator[Call]) -> Iterator[Prediction]:
    """Carries out a flight.

    Args:
        flight: with calls in it already, or without.
        events: those that wake the flight.
        send: starts a message, with seconds to go.
        calls: further calls, taken as there is room for them.

    Yields:
        The answers, in order. While one is used, no deadline runs.

    Raises:
        GradwireError: the first call that failed for good; those under way are cancelled.
    """
    flying: dict[Piece, grpc.Future[bytes]] = {}
    more = True
    try:
        while more or not flight.is_empty:
            while more and flight.wants_call:
                more = _take_call(flight, calls)
                _launch(flight, events, send, flying)
            _launch(flight, events, send, flying)
            for answer in flight.finished():
                began = time.monotonic()
                yield answer
                flight.held_up(time.monotonic() - began)
            if flying or not flight.is_empty:
                _take_event(flight, events, flying)
    finally:
        for call in flying.values():
            call.cancel()
        flight.close()


def _take_call(flight: Flight, calls: Iterator[Call]) -> bool:
    began = time.monotonic()
    call = next(calls, None)
    now = time.monotonic()
    flight.held_up(now - began)
    if call is not None:
        flight.add(call, now)
    return call is not None


def _launch(flight: Flight, events: Events, send: _Send, flying: dict[Piece, grpc.Future[bytes]]) -> None:
    for piece, data, seconds in flight.launch(time.monotonic()):
        flying[piece] = send(data, seconds)
        flying[piece].add_done_callback(partial(_end, flight, events, piece))


def _end(flight: Flight, events: Events, piece: Piece, call: grpc.Future[bytes]) -> None:
    """Called by gRPC, in a thread of its own."""
    flight.ended(piece, _fault(call))
    events.ended(piece)


def _fault(call: Any) -> Fault | None:
    """Reads what became of a call; gRPC's futures are its calls as well, which their type does not say."""
    code = call.code()
    return None if code is grpc.StatusCode.OK else Fault(code, call.details() or "no message")


def _take_event(flight: Flight, events: Events, flying: dict[Piece, grpc.Future[bytes]]) -> None:
    piece = events.wait(flight.sleep(time.monotonic()))
    if piece is None:
        return
    call = flying.pop(piece)
    fault = _fault(call)
    if fault is None:
        flight.landed(piece, call.result())
    else:
        flight.failed(piece, fault, time.monotonic())
