"""The result of the last call, for frameworks that ask for f and df/dx at one point one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, final

from numpy.typing import NDArray

_NOTHING: Final = object()  # equals no key


@final
class LastCall:
    """The last result, by the exact bytes of the arguments.

    It may be used from several threads: two at one point make one call.
    """

    def __init__(self) -> None:
        self._key: Hashable = _NOTHING
        self._result: tuple[Any, ...] = ()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[LastCall], tuple[()]]:
        return LastCall, ()  # a lock stays in its process

    def __call__(self, function: Callable[..., tuple[Any, ...]], length: int, *arrays: NDArray[Any]) -> tuple[Any, ...]:
        """Call a function, or return the last result if it was at the same point and has at least ``length`` parts."""
        key = tuple((array.dtype.str, array.shape, array.tobytes()) for array in arrays)
        with self._lock:
            if self._key != key or len(self._result) < length:
                self._result = function(*arrays)
                self._key = key
            return self._result
