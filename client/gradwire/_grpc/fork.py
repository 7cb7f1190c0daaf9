"""Forks of a process that calls servers: what gRPC does not survive is refused, and calls do not straddle a fork.

gRPC pauses its threads for a fork, unless it was told not to, or unless some thread is inside a call: then it goes on
regardless, and the child may hang or crash. So a fork waits until the calls under way are done, and holds new ones
back meanwhile. Where they take too long the fork happens, and the child's calls are refused.
"""

from __future__ import annotations

import os
import threading
from typing import Final, final

import grpc

from gradwire._errors import UsageError

LONGEST_WAIT: Final = 2.0  # seconds that a fork waits for calls: a server's slow reply should not stop a program

# Before, every call in the child fails as if the server were gone, unless gRPC was told to expect forks
# (tried: 1.63, 1.68, 1.74, 1.76 and 1.78 fail; 1.80 and 1.85 work).
_FORK_SAFE: Final = (1, 80)
_VARIABLE: Final = "GRPC_ENABLE_FORK_SUPPORT"
_SETTING: Final = os.environ.get(_VARIABLE, "").lower()  # gRPC has read it, once, and will not read it again
_OFF: Final = ("0", "false", "no")
_REMEDY: Final = "start processes with 'spawn' or 'forkserver'"


@final
class ForkGate:
    """Knows the messages that are in gRPC's hands, in all threads of a process."""

    def __init__(self) -> None:
        self._reset()
        self.was_straddled = False  # whether this process was forked while calls were under way
        self.loop_process: int | None = None  # in which gRPC's asynchronous part was started

    def _reset(self) -> None:
        self._condition = threading.Condition()
        self._under_way: set[object] = set()
        self._is_forking = False
        self._is_quiet = True

    def enter(self, message: object) -> None:
        """Note that a message is handed to gRPC, as soon as no fork is under way."""
        with self._condition:
            while self._is_forking:
                self._condition.wait()
            self._under_way.add(message)

    def leave(self, message: object) -> None:
        """Note that it has come to an end; a second time is harmless."""
        with self._condition:
            self._under_way.discard(message)
            if self._is_forking:
                self._condition.notify_all()

    def before_fork(self) -> None:
        """Wait for the messages under way, a while, and hold back new ones."""
        with self._condition:
            self._is_forking = True
            self._is_quiet = self._condition.wait_for(lambda: not self._under_way, LONGEST_WAIT)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with self._condition:
            self._is_forking = False
            self._condition.notify_all()

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads, which are not here."""
        self.was_straddled |= not self._is_quiet
        self._reset()


GATE: Final = ForkGate()
if hasattr(os, "register_at_fork"):
    # After gRPC's own, and so before them at a fork: gRPC then sees no thread inside a call.
    os.register_at_fork(
        before=GATE.before_fork, after_in_parent=GATE.after_fork_in_parent, after_in_child=GATE.after_fork_in_child
    )


def check_loop() -> None:
    """Raise UsageError where gRPC's asynchronous part was started before this process was forked: it would hang."""
    if GATE.loop_process not in (None, os.getpid()):
        raise UsageError(
            "this process was forked after its parent had used grpc.aio, which does not survive a fork: use "
            f"gradwire.connect in the child, or {_REMEDY}"
        )
    GATE.loop_process = os.getpid()


def check_fork() -> None:
    """Raise UsageError in a process that was forked so that gRPC does not work in it."""
    major, minor = (int(part) for part in grpc.__version__.split(".")[:2])
    if _SETTING in _OFF:
        raise UsageError(
            f"this process was forked, and {_VARIABLE}={_SETTING} told gRPC that there would be no forks: unset it before "
            f"Python starts, or {_REMEDY}"
        )
    if (major, minor) < _FORK_SAFE and not _SETTING:
        oldest = ".".join(str(part) for part in _FORK_SAFE)
        raise UsageError(
            f"grpcio {grpc.__version__} does not survive a fork, expected {oldest} or newer: install it, set {_VARIABLE}=1 "
            f"before Python starts, or {_REMEDY}"
        )
    if GATE.was_straddled:
        raise UsageError(
            f"this process was forked while calls were under way that did not end within {LONGEST_WAIT:g} s, which gRPC "
            f"does not survive: fork before such calls, or {_REMEDY}"
        )
