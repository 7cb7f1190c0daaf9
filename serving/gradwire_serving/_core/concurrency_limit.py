"""The limit that every call passes: how many run at once, and none once the server stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

from gradwire_serving._core.status import Code, StatusError

FULL: Final = "Server Threadpool Exhausted"
STOPPING: Final = "the server is stopping"


@final
class ConcurrencyLimit:
    """Admits calls up to a limit, refuses one more at once, and lets the running ones end before a stop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for the length of a call: RESOURCE_EXHAUSTED where all are taken, UNAVAILABLE once closed."""
        with self._changed:
            if self._closed:
                raise StatusError(Code.UNAVAILABLE, STOPPING)
            if self._running >= self._limit:
                raise StatusError(Code.RESOURCE_EXHAUSTED, FULL)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self, grace: float) -> None:
        """Admit no further call, and wait at most ``grace`` seconds for the running ones."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._running, grace)
