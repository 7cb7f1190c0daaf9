"""How many calls a server is sent at once, by everybody who shares a transport.

Without a limit until the server says that it is full (a stock Serving refuses the eighth call at once on two cores, in
the same millisecond). Then half of what was under way; from there one more for every limit's worth of responses, and
half again at the next refusal: additive increase, multiplicative decrease (Chiu and Jain, Computer Networks and ISDN
Systems 17 (1989) 1). Of the refusals of one burst only the first counts.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import final


@final
class AimdLimiter:
    """Slots for calls; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit = math.inf
        self._in_use = 0
        self._epoch = 0
        self._queue: deque[Callable[[], None]] = deque()

    @property
    def limit(self) -> float:
        """How many calls may be under way; infinity until the server was full."""
        return self._limit

    @property
    def in_use(self) -> int:
        """How many slots are taken."""
        return self._in_use

    @property
    def epoch(self) -> int:
        """How often the limit has been lowered."""
        return self._epoch

    def acquire(self) -> bool:
        """Take a slot, if one is free and nobody waits for it."""
        with self._lock:
            if self._queue or self._in_use >= self._limit:
                return False
            self._in_use += 1
            return True

    def enqueue(self, on_grant: Callable[[], None]) -> None:
        """Wait for a slot.

        Args:
            on_grant: called once, from any thread, when a slot has been taken for the caller.
        """
        with self._lock:
            self._queue.append(on_grant)
        self._admit()

    def withdraw(self, on_grant: Callable[[], None]) -> None:
        """Leave the queue, or release the slot that was granted in the meantime."""
        with self._lock:
            is_waiting = on_grant in self._queue
            if is_waiting:
                self._queue.remove(on_grant)
        if not is_waiting:
            self.release()

    def release(self) -> None:
        """Give a slot back, with nothing learnt."""
        with self._lock:
            self._in_use -= 1
        self._admit()

    def on_response(self) -> None:
        """Give a slot back after a response: the limit grows by one for every limit's worth of them."""
        with self._lock:
            self._in_use -= 1
            self._limit += 1 / self._limit
            if not self._queue:
                return
        self._admit()

    def on_overload(self, epoch: int) -> None:
        """Give a slot back after the server was full: the limit falls to half of what was under way.

        Args:
            epoch: the limiter's when the call was sent; another refusal of a burst that has lowered it is no news.
        """
        with self._lock:
            if epoch == self._epoch:
                self._limit = max(1.0, min(self._limit, self._in_use) / 2)
                self._epoch += 1
            self._in_use -= 1
        self._admit()

    def _admit(self) -> None:
        granted: list[Callable[[], None]] = []
        with self._lock:
            while self._queue and self._in_use < self._limit:
                self._in_use += 1
                granted.append(self._queue.popleft())
        for on_grant in granted:
            on_grant()
