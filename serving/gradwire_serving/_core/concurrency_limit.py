"""The limit that every call passes: how many are under way, and none once the server stops."""

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
    """Admits calls up to a limit, refuses one more at once, and lets those under way end before a stop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self) -> None:
        """Admit a call: RESOURCE_EXHAUSTED where the limit is reached, UNAVAILABLE once closed."""
        with self._changed:
            if self._closed:
                raise StatusError(Code.UNAVAILABLE, STOPPING)
            if self._admitted >= self._limit:
                raise StatusError(Code.RESOURCE_EXHAUSTED, FULL)
            self._admitted += 1

    def leave(self) -> None:
        """Note that an admitted call has ended, whichever way."""
        with self._changed:
            self._admitted -= 1
            if self._closed:
                self._changed.notify_all()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Admit a call for the length of a ``with`` block; see ``enter``."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def close(self, grace: float) -> None:
        """Admit no further call, and wait at most ``grace`` seconds for those under way."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._admitted, grace)
