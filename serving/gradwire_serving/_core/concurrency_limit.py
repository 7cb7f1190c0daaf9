"""The limit that every call passes: how many run at once, how many wait, and none once the server stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

from gradwire_serving._core.status import Code, StatusError, deadline_exceeded

FULL: Final = "Server Threadpool Exhausted"
STOPPING: Final = "the server is stopping"


@final
class ConcurrencyLimit:
    """Admits calls up to a limit, refuses one more at once, and lets those under way end before a stop.

    Args:
        running: how many calls run at once.
        waiting: how many more are admitted, and wait until they may run.
    """

    def __init__(self, running: int, waiting: int = 0) -> None:
        self._most_running = running
        self._most_admitted = running + waiting
        self._running = 0
        self._admitted = 0
        self._closed = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._ended = threading.Condition(lock)

    @contextmanager
    def admission(self) -> Iterator[None]:
        """Admit a call for the length of the block: RESOURCE_EXHAUSTED at the limit, UNAVAILABLE once closed."""
        with self._room:
            if self._closed:
                raise StatusError(Code.UNAVAILABLE, STOPPING)
            if self._admitted >= self._most_admitted:
                raise StatusError(Code.RESOURCE_EXHAUSTED, FULL)
            self._admitted += 1
        try:
            yield
        finally:
            with self._room:
                self._admitted -= 1
                self._ended.notify_all()

    @contextmanager
    def turn(self, deadline: float | None = None) -> Iterator[None]:
        """Let an admitted call run for the length of the block, when it may; DEADLINE_EXCEEDED if that is late."""
        with self._room:
            while self._running >= self._most_running:
                self._room.wait(None if deadline is None else deadline - time.monotonic())
                if deadline is not None and time.monotonic() >= deadline:
                    self._room.notify()  # a turn that came with the deadline is another's
                    raise deadline_exceeded()
            self._running += 1
        try:
            yield
        finally:
            with self._room:
                self._running -= 1
                self._room.notify()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Admit a call and let it run, for the length of the block."""
        with self.admission(), self.turn():
            yield

    def close(self, grace: float) -> None:
        """Admit no further call, and wait at most ``grace`` seconds for those under way."""
        with self._room:
            self._closed = True
            self._ended.wait_for(lambda: not self._admitted, grace)
