"""How many calls a server is sent at once, by everybody who shares a transport.

Without a limit until the server says that it is full (a stock Serving refuses the eighth call at once on two cores,
in the same millisecond). Then half of what was under way; from there one more for every windowful of answers, and
half again at the next refusal: additive increase, multiplicative decrease (Chiu and Jain, Computer Networks and ISDN
Systems 17 (1989) 1). Of the refusals of one burst only the first counts.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Window:
    """Places for calls; may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = math.inf
        self._taken = 0
        self._epoch = 0  # how often the window has shrunk
        self._queue: deque[Callable[[], None]] = deque()

    @property
    def size(self) -> float:
        """How many calls may be under way; infinity until the server was full."""
        return self._size

    @property
    def epoch(self) -> int:
        """Counts the times that the window has shrunk."""
        return self._epoch

    def take(self) -> bool:
        """Takes a place, if one is free and nobody waits for it."""
        with self._lock:
            if self._queue or self._taken >= self._size:
                return False
            self._taken += 1
            return True

    def wait(self, granted: Callable[[], None]) -> None:
        """Queues for a place.

        Args:
            granted: called once, from any thread, when a place has been taken for the caller.
        """
        with self._lock:
            self._queue.append(granted)
        self._admit()

    def forget(self, granted: Callable[[], None]) -> None:
        """Leaves the queue, or gives back the place that was granted in the meantime."""
        with self._lock:
            waiting = granted in self._queue
            if waiting:
                self._queue.remove(granted)
        if not waiting:
            self.give()

    def give(self) -> None:
        """Gives a place back, with nothing learnt."""
        with self._lock:
            self._taken -= 1
        self._admit()

    def answered(self) -> None:
        """Gives a place back after an answer: the window grows by one for every windowful."""
        with self._lock:
            self._taken -= 1
            self._size += 1 / self._size
        self._admit()

    def refused(self, epoch: int) -> None:
        """Gives a place back after the server was full: the window shrinks to half of what was under way.

        Args:
            epoch: the window's when the call was sent; a refusal of the burst that has shrunk it already is no news.
        """
        with self._lock:
            if epoch == self._epoch:
                self._size = max(1.0, min(self._size, self._taken) / 2)
                self._epoch += 1
            self._taken -= 1
        self._admit()

    def _admit(self) -> None:
        granted: list[Callable[[], None]] = []
        with self._lock:
            while self._queue and self._taken < self._size:
                self._taken += 1
                granted.append(self._queue.popleft())
        for call in granted:
            call()
