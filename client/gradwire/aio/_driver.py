"""Carries out a flight in an event loop: what ``gradwire._grpc.runner`` does with threads."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias, final

import grpc

from gradwire._grpc import Fault, fault_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from gradwire._grpc import Flight, Piece
    from gradwire._wire import Call, Prediction

    Send = Callable[[bytes, float], grpc.aio.UnaryUnaryCall[bytes, bytes]]

_Event: TypeAlias = "asyncio.Future[Call | None] | tuple[Piece, bytes | Fault] | None"


@final
class Driver:
    """Sends what a flight says, waits, and tells it what came.

    Args:
        make: makes the flight, given what wakes it.
        send: starts a message, with seconds to go.
        calls: what to do; taken as there is room for it.
    """

    def __init__(self, make: Callable[[Callable[[], None]], Flight], send: Send, calls: AsyncIterator[Call]) -> None:
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self.flight = make(lambda: self._events.put_nowait(None))
        self._send = send
        self._calls = calls
        self._flying: dict[Piece, asyncio.Future[None]] = {}
        self._taking: asyncio.Future[Call | None] | None = None
        self._more = True

    async def run(self) -> AsyncGenerator[Prediction]:
        """Carries out the flight.

        Yields:
            The answers, in order. While one is used, no deadline runs.

        Raises:
            GradwireError: the first call that failed for good; those under way are cancelled.
        """
        try:
            while self._more or not self.flight.is_empty:
                self._launch()
                if self._more and self._taking is None and self.flight.wants_call:
                    self._taking = asyncio.ensure_future(anext(self._calls, None))
                    self._taking.add_done_callback(self._events.put_nowait)
                for answer in self.flight.finished():
                    began = time.monotonic()
                    yield answer
                    self.flight.held_up(time.monotonic() - began)
                if self._flying or self._taking or not self.flight.is_empty:
                    await self._take_event()
        finally:
            self._stop()

    def _launch(self) -> None:
        for piece, data, seconds in self.flight.launch(time.monotonic()):
            self._flying[piece] = asyncio.ensure_future(self._fetch(piece, self._send(data, seconds)))

    async def _fetch(self, piece: Piece, call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> None:
        """Waits for an answer, also while an earlier one is used and nobody else looks."""
        try:
            data: bytes = await call
        except grpc.RpcError as error:
            fault = fault_of(error)
            self.flight.ended(piece, fault)
            self._events.put_nowait((piece, fault))
        else:
            self.flight.ended(piece, None)
            self._events.put_nowait((piece, data))

    async def _take_event(self) -> None:
        try:
            async with asyncio.timeout(self.flight.sleep(time.monotonic())):
                event = await self._events.get()
        except TimeoutError:
            return
        if isinstance(event, asyncio.Future):
            self._taking = None
            self._take_call(event.result())
        elif event is not None:
            self._take_answer(*event)

    def _take_call(self, call: Call | None) -> None:
        if call is None:
            self._more = False
        else:
            self.flight.add(call, time.monotonic())

    def _take_answer(self, piece: Piece, found: bytes | Fault) -> None:
        del self._flying[piece]
        if isinstance(found, bytes):
            self.flight.landed(piece, found)
        else:
            self.flight.failed(piece, found, time.monotonic())

    def _stop(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
        for fetching in self._flying.values():
            fetching.cancel()
        self.flight.close()
