"""The floating-point mode of TensorFlow's threads, for operations that run in a caller's.

TensorFlow's threads flush denormal numbers to zero. A caller's does not: log(1e-40) would then be another number for
one row than for a thousand. C's ``fesetenv`` sets the mode of a thread, denormals too where the environment has the
word for it, ``MXCSR``: its last one on x86-64.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from types import TracebackType
from typing import Any, Final, final

WORDS: Final = 8  # 32 bits each, of fenv_t in glibc and musl on x86-64; MXCSR is the last
FLUSH: Final = 0x8040  # of MXCSR: denormal results are zero, denormal operands count as zero
ROUNDING: Final = 0x6000  # of MXCSR: to nearest where both are 0


@final
class FlushedDenormals:
    """Sets the mode of TensorFlow's threads, and the caller's own again at the end."""

    __slots__ = ("_own",)

    def __enter__(self) -> None:
        self._own = own = _Environment()
        _c.fegetenv(own)
        _c.fesetenv(_flushed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _c.fesetenv(self._own)


def _environment() -> Any:
    words = _Environment()
    _c.fegetenv(words)
    return words


def _set_up() -> bool:
    """Whether the mode can be set here; tried at once, and undone."""
    if not (sys.platform == "linux" and platform.machine() == "x86_64" and hasattr(_c, "fesetenv")):
        return False
    own = _environment()
    _flushed[:] = own[:]
    _flushed[-1] = own[-1] & ~ROUNDING | FLUSH
    with FlushedDenormals():
        return _environment()[-1] & (FLUSH | ROUNDING) == FLUSH


_c: Final = ctypes.PyDLL(None)  # what the interpreter is linked with; calls keep the lock, which takes less time
_Environment: Final = ctypes.c_uint32 * WORDS
_flushed: Final = _Environment()
CAN_FLUSH: Final = _set_up()
