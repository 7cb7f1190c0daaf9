"""gRPC plumbing: from a call's headers to its response, and the response to every unknown method.

Every method is declared as streaming and works on raw bytes. Streaming, because its code then begins with the headers
of a call, so that a call counts and has a limit before its message has come. Raw bytes, because gRPC's own deserialiser
hook reports a body that does not parse in other words than TensorFlow Serving, and because responses are written in
wire form at once.

A call has a thread from its headers on, but one that waits takes no other's turn to compute: threads are many, and made
when they are needed. (An event loop in their place, grpc.aio, took half as much processor time again for a call.)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeAlias, final

import grpc
from typing_extensions import override

from gradwire_serving._config import REFUSED, BearerToken
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
OPEN: Final = "/grpc.health.v1.Health/"  # needs no token: probes have none
LOOKS: Final = 10  # at overdue messages, in the time that one may take


@final
class Bodies:
    """Waits for the messages of calls: each for a limited time; where too many wait, the oldest gives way.

    A call that is given up is cancelled: gRPC has no other way to end it from outside.
    """

    def __init__(self, timeout: float, limit: int) -> None:
        self._timeout = timeout
        self._limit = limit
        self._waiting: dict[Any, float] = {}  # deadlines by the call's context, in the order in which they came
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gradwire-bodies", daemon=True)

    def start(self) -> None:
        """Begin to look for overdue messages."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()

    def read(self, requests: Iterator[bytes], context: Any) -> bytes | None:
        """Return a call's next message, or None at the end of its stream."""
        with self._lock:
            self._waiting[context] = time.monotonic() + self._timeout
            oldest = next(iter(self._waiting)) if len(self._waiting) > self._limit else None
        if oldest is not None:
            oldest.cancel()
        try:
            return next(requests, None)
        except grpc.RpcError as error:
            raise StatusError(Code.CANCELLED, "the call's message did not come in time") from error
        finally:
            with self._lock:
                del self._waiting[context]

    def read_one(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Return the message of a call that has one."""
        message = self.read(requests, context)
        if message is None:
            raise StatusError(Code.INTERNAL, "the call has no message")
        return message

    def _watch(self) -> None:
        while not self._stopping.wait(self._timeout / LOOKS):
            now = time.monotonic()
            with self._lock:
                overdue = [context for context, deadline in self._waiting.items() if deadline <= now]
            for context in overdue:
                context.cancel()


@final
class Calls:
    """Answers calls: waits for their message, lets the limit admit them, and runs the method when it is their turn.

    Args:
        limit: how many calls may be under way, and how many of them compute.
        log_requests: whether every call is logged.
    """

    def __init__(self, limit: ConcurrencyLimit, *, log_requests: bool) -> None:
        self._limit = limit
        self._log_requests = log_requests
        self.bodies: Final = Bodies(BODY_TIMEOUT, MAX_AWAITED)

    def unary(self, name: str, method: Method, *, takes_turn: bool = False) -> grpc.RpcMethodHandler:
        """Return the gRPC handler of a method; what it raises becomes the call's status.

        Args:
            name: its full name.
            method: what answers a message.
            takes_turn: whether the method itself waits for its turn to compute.
        """

        def behaviour(requests: Iterator[bytes], context: Any) -> bytes:
            began = time.monotonic()
            try:
                with aborting(context):
                    return self._answer(method, requests, context, takes_turn=takes_turn)
                raise AssertionError  # an abort has raised
            finally:
                if self._log_requests:
                    code = (context.code() or grpc.StatusCode.OK).name
                    event(logging.INFO, "request", method=name, code=code, seconds=time.monotonic() - began)

        return grpc.stream_unary_rpc_method_handler(behaviour)

    def _answer(self, method: Method, requests: Iterator[bytes], context: Any, *, takes_turn: bool) -> bytes:
        request = self.bodies.read_one(requests, context)
        deadline = _deadline(context)
        with self._limit.admission():
            with nullcontext() if takes_turn else self._limit.turn(deadline):
                response = method(request, deadline)
            return _wait(response, deadline, context) if isinstance(response, Future) else response


@final
class Methods(grpc.GenericRpcHandler):
    """A server's methods by their full name; all others are UNIMPLEMENTED with an empty text.

    Args:
        handlers: the methods.
        token: what calls have to bring, but for those of ``OPEN``; None for nothing.
    """

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler], token: BearerToken | None) -> None:
        self._handlers = handlers
        self._token = token
        self._unimplemented = grpc.stream_stream_rpc_method_handler(_unimplemented)
        self._unauthenticated = grpc.stream_stream_rpc_method_handler(_unauthenticated)

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        if self._token is not None and not method.startswith(OPEN):
            sent = (str(value) for name, value in handler_call_details.invocation_metadata if name == "authorization")
            try:
                self._token.check(next(sent, None))
            except StatusError:
                return self._unauthenticated
        return self._handlers.get(method, self._unimplemented)


@contextmanager
def aborting(context: Any) -> Iterator[None]:
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
    context.abort(grpc.StatusCode[status.code.name], printable(status.message))


def _wait(response: Future[bytes], deadline: float | None, context: Any) -> bytes:
    if not context.add_callback(response.cancel):  # the call has ended already
        response.cancel()
    try:
        return response.result(None if deadline is None else deadline - time.monotonic())
    except TimeoutError as error:
        response.cancel()
        raise deadline_exceeded() from error
    except CancelledError as error:
        raise StatusError(Code.CANCELLED, "the caller has gone") from error


def _deadline(context: Any) -> float | None:
    seconds = context.time_remaining()
    return None if seconds is None or seconds > LONGEST_TIMEOUT else time.monotonic() + seconds


def _unimplemented(_requests: Iterator[Any], context: Any) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "")


def _unauthenticated(_requests: Iterator[Any], context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSED)
