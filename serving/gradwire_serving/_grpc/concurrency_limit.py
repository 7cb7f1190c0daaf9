"""The gate through which every call comes: how many run at once, and none any more when the server stops."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

from gradwire._errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL: Final = "Server Threadpool Exhausted"
STOPPING: Final = "the server is stopping"


@final
class Gate:
    """Admits calls up to a limit, and lets those that run end before a stop.

    Args:
        limit: how many calls run at once; one more is refused at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Holds a place for the length of a call.

        Raises:
            ServerError: RESOURCE_EXHAUSTED, all places are taken; UNAVAILABLE, the gate is closed.
        """
        with self._changed:
            if self._closed:
                raise ServerError(STOPPING, code="UNAVAILABLE")
            if self._running >= self._limit:
                raise ServerError(FULL, code="RESOURCE_EXHAUSTED")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self, grace: float) -> None:
        """Admits no call any more, and waits for those that run.

        Args:
            grace: seconds to wait at most.
        """
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._running, grace)
