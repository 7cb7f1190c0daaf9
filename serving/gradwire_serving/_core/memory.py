"""What calls may allocate beyond what they sent: forty bytes may declare a tensor of terabytes.

The kernel would grant that memory, and end the server when it is written to.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self, final

from gradwire_serving._core.status import Code, StatusError, deadline_exceeded, invalid_argument

DEFAULT_MAX_EXPANDED_BYTES: Final = 2**26  # of one request; what ordinary clients send expands by next to nothing
UNCHECKED_BYTES: Final = 2**24  # asking the system for its free memory takes 50 µs: not worth it below 16 MiB
OUT_OF_MEMORY: Final = "the server has not enough memory for this call now"

_CGROUPS: Final = Path("/sys/fs/cgroup")
# The limit and the use of a control group: version 2, and the directory of version 1.
_CGROUP_FILES: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


@final
class Memory:
    """Grants memory to calls: to each up to a limit, and to all together what the machine, or its cgroup, has left.

    Args:
        max_expanded_bytes: the most by which the tensors of one request may expand.
        available: returns the bytes that are free.
    """

    def __init__(
        self,
        max_expanded_bytes: int = DEFAULT_MAX_EXPANDED_BYTES,
        available: Callable[[], int] | None = None,
    ) -> None:
        self.max_expanded_bytes = max_expanded_bytes
        self._available = available or available_memory
        self._granted = 0
        self._lock = threading.Lock()

    def grant(self, size: int) -> None:
        """Grant bytes until they are given back; RESOURCE_EXHAUSTED where there are not as many."""
        with self._lock:
            total = self._granted + size
            if total > UNCHECKED_BYTES and total > self._available():
                raise StatusError(Code.RESOURCE_EXHAUSTED, OUT_OF_MEMORY)
            self._granted = total

    def give_back(self, size: int) -> None:
        """Take back granted bytes."""
        with self._lock:
            self._granted -= size

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Grant bytes for the length of the block; RESOURCE_EXHAUSTED where there are not as many."""
        self.grant(size)
        try:
            yield
        finally:
            self.give_back(size)


@final
class Allowance:
    """What one call may use: memory, which it gives back at the end of a ``with`` block or by ``close``, and time."""

    def __init__(self, memory: Memory | None = None, deadline: float | None = None) -> None:
        self._memory = memory or Memory()
        self._deadline = deadline
        self._size = 0

    def expand(self, size: int, name: str) -> None:
        """Allow an input to be that many bytes larger than what was sent for it.

        Raises:
            ValueError: more than any machine has.
            StatusError: more than a request may expand by, or than is free.
        """
        if size > installed_memory():
            raise ValueError(size)
        if self._size + size > self._memory.max_expanded_bytes:
            raise invalid_argument(
                f"input {name} declares {size} bytes more than were sent for it; the tensors of a request may expand by "
                f"{self._memory.max_expanded_bytes} (--max_expanded_bytes)"
            )
        self._memory.grant(size)
        self._size += size

    def check_deadline(self) -> None:
        """Raise DEADLINE_EXCEEDED where the call's time is over: its caller has gone."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise deadline_exceeded()

    def close(self) -> None:
        """Give the memory back."""
        self._memory.give_back(self._size)
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def installed_memory() -> int:
    """Return the bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory(cgroups: Path = _CGROUPS) -> int:
    """Return the bytes that are free on the machine, or in this process's control group if that is less."""
    meminfo = [line.split() for line in _lines(Path("/proc/meminfo"))]
    available = [installed_memory(), *(int(words[1]) * 1024 for words in meminfo if words[0] == "MemAvailable:")]
    own = [line[3:].lstrip("/") for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::")]
    for directory in {cgroups, *(cgroups / path for path in own)}:
        for limit_file, use_file in _CGROUP_FILES:
            limit, use = _lines(directory / limit_file), _lines(directory / use_file)
            if limit and use and limit[0].isdigit():  # otherwise "max"
                available.append(int(limit[0]) - int(use[0]))
    return max(0, min(available))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):  # another system than Linux, or no such limit
        return []
