"""Memory for large results, used again once the arrays in it are gone."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

LEAST_POOLED: Final = (
    1 << 18
)  # bytes: below, the allocator has memory at hand; above, each page is a fault the first time
_MOST_HELD: Final = 1 << 26  # bytes that are held for later calls


@final
class BufferPool:
    """Arrays without values, in memory that was used before where that is possible.

    A buffer is used again when no array, and no view of one, is left in it: a ``bytearray`` that somebody looks into
    refuses to change its size. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._buffers: deque[bytearray] = deque()
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of any values, as ``numpy.empty`` does."""
        size = math.prod(shape) * dtype.itemsize
        if size < LEAST_POOLED or dtype.hasobject:
            return np.empty(shape, dtype)
        if not self._lock.acquire(blocking=False):  # another thread's, perhaps of the process before a fork
            return np.empty(shape, dtype)
        try:
            buffer = next((held for held in self._buffers if len(held) == size and _is_free(held)), None)
            if buffer is not None:
                return np.frombuffer(buffer, dtype).reshape(shape)
            buffer = bytearray(size)
            self._buffers.append(buffer)
            while sum(map(len, self._buffers)) > _MOST_HELD:
                self._buffers.popleft()
            return np.frombuffer(buffer, dtype).reshape(shape)
        finally:
            self._lock.release()


_POOL: Final = BufferPool()
empty: Final = _POOL.empty


def _is_free(buffer: bytearray) -> bool:
    try:
        last = buffer.pop()
    except BufferError:
        return False
    buffer.append(last)
    return True
