"""gRPC plumbing: from a call's headers to its response, and the response to every unknown method.

Every method is declared as streaming and works on raw bytes. Streaming, because its code then begins with the headers
of a call, so that a call counts and has a limit before its message has come; waiting for it costs no thread. Raw bytes,
because gRPC's own deserialiser hook reports a body that does not parse in other words than TensorFlow Serving, and
because responses are written in wire form at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, final

import grpc
from typing_extensions import override

from gradwire_serving._core import (
    INTERNAL_ERROR,
    OUT_OF_MEMORY,
    Code,
    ConcurrencyLimit,
    Status,
    StatusError,
    deadline_exceeded,
    event,
    log,
    printable,
)

# Request and deadline (None: no limit) to response, or to one that comes later, from another thread.
Method: TypeAlias = "Callable[[bytes, float | None], bytes | Future[bytes]]"

LONGEST_TIMEOUT: Final = 10**9  # seconds; gRPC reports infinity for a call with no deadline
BODY_TIMEOUT: Final = 60.0  # seconds from a call's headers to the end of its message
MAX_AWAITED: Final = 1000  # calls whose message has not come yet


@final
class Bodies:
    """Waits for the messages of calls: each for a limited time; where too many wait, the oldest gives way."""

    def __init__(self, timeout: float = BODY_TIMEOUT, limit: int = MAX_AWAITED) -> None:
        self._timeout = timeout
        self._limit = limit
        self._waiting: dict[asyncio.Timeout, None] = {}  # in the order in which they came

    async def read(self, context: Any) -> bytes:
        """Return a call's message."""
        try:
            async with asyncio.timeout(self._timeout) as timeout:
                self._waiting[timeout] = None
                try:
                    if len(self._waiting) > self._limit:
                        next(iter(self._waiting)).reschedule(0)  # long past
                    message = await context.read()
                finally:
                    del self._waiting[timeout]
        except TimeoutError as error:
            raise StatusError(Code.DEADLINE_EXCEEDED, "the call's message did not come in time") from error
        if not isinstance(message, bytes):  # gRPC's mark for the end of the stream
            raise StatusError(Code.INTERNAL, "the call has no message")
        return message


@final
class Calls:
    """Answers calls: waits for their message, lets the limit admit them, and runs the method on a worker.

    Args:
        limit: how many calls may be under way, computing or waiting for a worker.
        workers: the threads that compute.
        log_requests: whether every call is logged.
    """

    def __init__(self, limit: ConcurrencyLimit, workers: ThreadPoolExecutor, *, log_requests: bool) -> None:
        self._limit = limit
        self._workers = workers
        self._log_requests = log_requests
        self.bodies: Final = Bodies()

    def unary(self, name: str, method: Method) -> grpc.RpcMethodHandler:
        """Return the gRPC handler of a method; what it raises becomes the call's status."""

        async def behaviour(_requests: Any, context: Any) -> bytes:
            began = time.monotonic()
            try:
                async with aborting(context):
                    return await self._answer(method, context)
            finally:
                if self._log_requests:
                    code = Code(context.code() or 0).name
                    event(logging.INFO, "request", method=name, code=code, seconds=time.monotonic() - began)

        return grpc.stream_unary_rpc_method_handler(behaviour)

    async def _answer(self, method: Method, context: Any) -> bytes:
        deadline = _deadline(context)
        request = await self.bodies.read(context)
        self._limit.enter()
        future = self._workers.submit(self._run, method, request, deadline)
        future.add_done_callback(self._leave_if_cancelled)
        response = await asyncio.wrap_future(future)
        return await asyncio.wrap_future(response) if isinstance(response, Future) else response

    def _run(self, method: Method, request: bytes, deadline: float | None) -> bytes | Future[bytes]:
        # On a worker, and to the end, whether or not the caller is still there: its cancellation stops no computation.
        response: bytes | Future[bytes] = b""
        try:
            if deadline is not None and time.monotonic() >= deadline:
                raise deadline_exceeded()
            response = method(request, deadline)
        finally:
            if isinstance(response, Future):
                response.add_done_callback(lambda _: self._limit.leave())
            else:
                self._limit.leave()
        return response

    def _leave_if_cancelled(self, future: Future[Any]) -> None:
        if future.cancelled():  # before a worker was free
            self._limit.leave()


@final
class Methods(grpc.GenericRpcHandler):
    """A server's methods by their full name; all others are UNIMPLEMENTED with an empty text."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers
        self._unimplemented = grpc.stream_stream_rpc_method_handler(_unimplemented)

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handlers.get(handler_call_details.method, self._unimplemented)


@asynccontextmanager
async def aborting(context: Any) -> AsyncIterator[None]:
    """Turn what the block raises into the status of its call; nothing but a status reaches the caller."""
    try:
        yield
    except StatusError as error:
        status = error.status
    except MemoryError:
        status = Status(Code.RESOURCE_EXHAUSTED, OUT_OF_MEMORY)
    except Exception:  # noqa: BLE001 - the log has it, and the caller a status
        log.exception("a call failed")
        status = Status(Code.INTERNAL, INTERNAL_ERROR)
    else:
        return
    await context.abort(grpc.StatusCode[status.code.name], printable(status.message))


def _deadline(context: Any) -> float | None:
    seconds = context.time_remaining()
    return None if seconds is None or seconds > LONGEST_TIMEOUT else time.monotonic() + seconds


async def _unimplemented(_requests: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
