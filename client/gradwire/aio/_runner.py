"""Carries out the calls of a scheduler in an event loop, as ``gradwire._grpc.runner`` does with threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias, final

import grpc

from gradwire._grpc import CallScheduler, Chunk, GrpcSession, RpcStatus, status_of
from gradwire._wire import Call, Prediction

_Event: TypeAlias = "asyncio.Future[Call | None] | tuple[Chunk, bytes | RpcStatus] | None"


@final
class Runner:
    """Sends the messages of a scheduler, waits, and reports what came back.

    Args:
        session: sends.
        timeout: seconds for each call.
        calls: what to do; taken as there is room for it. None where all are in the scheduler already.

    Attributes:
        scheduler: empty at first.
    """

    def __init__(self, session: GrpcSession, timeout: float, calls: AsyncIterator[Call] | None) -> None:
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self.scheduler: CallScheduler = session.scheduler(timeout, lambda: self._events.put_nowait(None))
        self._session = session
        self._calls = calls
        self._pending: dict[Chunk, asyncio.Future[None]] = {}
        self._next_call: asyncio.Future[Call | None] | None = None

    async def run(self) -> AsyncGenerator[Prediction]:
        """Carry out the calls.

        Yields:
            The predictions, in order. While one is used, no deadline runs.

        Raises:
            GradwireError: of the first call that failed for good; those under way are cancelled.
        """
        try:
            while self._calls is not None or not self.scheduler.is_empty:
                self._send_requests()
                if self._calls is not None and self._next_call is None and self.scheduler.has_room:
                    self._next_call = asyncio.ensure_future(anext(self._calls, None))
                    self._next_call.add_done_callback(self._events.put_nowait)
                for prediction in self.scheduler.completed():
                    began = time.monotonic()
                    yield prediction
                    self.scheduler.extend_deadlines(time.monotonic() - began)
                if self._pending or self._next_call or not self.scheduler.is_empty:
                    await self._take_event()
        finally:
            self._stop()

    def _send_requests(self) -> None:
        for chunk, data, timeout, metadata in self.scheduler.next_requests(time.monotonic()):
            call = self._session.predict(data, timeout=timeout, metadata=metadata)
            self._pending[chunk] = asyncio.ensure_future(self._fetch(chunk, call))

    async def _fetch(self, chunk: Chunk, call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> None:
        """Wait for a response, also while an earlier one is used and nobody else looks."""
        try:
            response: bytes | RpcStatus = await call
        except grpc.RpcError as error:
            response = status_of(error)
        self.scheduler.release(chunk, response if isinstance(response, RpcStatus) else None)
        self._events.put_nowait((chunk, response))

    async def _take_event(self) -> None:
        try:
            async with asyncio.timeout(self.scheduler.seconds_to_wait(time.monotonic())):
                event = await self._events.get()
        except TimeoutError:
            return
        if isinstance(event, asyncio.Future):
            self._next_call = None
            self._begin_call(event.result())
        elif event is not None:
            self._take_response(*event)

    def _begin_call(self, call: Call | None) -> None:
        if call is None:
            self._calls = None
        else:
            self.scheduler.add(call, time.monotonic())

    def _take_response(self, chunk: Chunk, response: bytes | RpcStatus) -> None:
        del self._pending[chunk]
        if isinstance(response, bytes):
            self.scheduler.on_response(chunk, response)
        else:
            self.scheduler.on_failure(chunk, response, time.monotonic())

    def _stop(self) -> None:
        if self._next_call is not None:
            self._next_call.cancel()
        for fetch in self._pending.values():
            fetch.cancel()
        self.scheduler.close()
