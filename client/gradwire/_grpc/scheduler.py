"""Calls on their way to a server: what to send now, what to send again, what is done.

This is all that the synchronous and the asynchronous transport have in common, and nothing in it sends, waits or reads
a clock: a driver says what happened and when, and does what it is told.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, final

import grpc

from gradwire._grpc.call import Job
from gradwire._grpc.errors import translate
from gradwire._grpc.piece import Piece, Sending
from gradwire._grpc.status import Fault
from gradwire._wire import count_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradwire._errors import GradwireError
    from gradwire._grpc.chunking import Limits
    from gradwire._grpc.limiter import Window
    from gradwire._wire import Address, Call, Prediction

# Two pieces keep the line and the server busy at once, a third covers the time between; a stock Serving runs
# no more than 4 calls a core, for all of its callers.
IN_FLIGHT: Final = 3
AHEAD: Final = 2  # calls begun, for each message in flight: so many does a stream hold in memory
FIRST_DELAY: Final = 0.05  # seconds before a message is sent again, doubled each time; gRPC has tried before
FULL_DELAY: Final = 0.005  # the same when the server was full: there one call more takes a millisecond
LONGEST_DELAY: Final = 2.0  # finds a restarted server so soon
_CANCELLED: Final = Fault(grpc.StatusCode.CANCELLED, "by its caller")


@final
class Flight:
    """Calls under way.

    Args:
        address: whom they go to.
        limits: what goes into a message.
        window: how many calls the server is sent at once.
        timeout: seconds for each call.
        in_flight: how many messages of this flight are under way at once.
        wake: called, from any thread, when a place has become free that the flight has waited for.
    """

    def __init__(
        self,
        address: Address,
        limits: Limits,
        window: Window,
        *,
        timeout: float,
        in_flight: int,
        wake: Callable[[], None],
    ) -> None:
        self._address = address
        self._limits = limits
        self._window = window
        self._timeout = timeout
        self._in_flight = in_flight
        self._wake = wake
        self._jobs: deque[Job] = deque()  # those not handed over, in order
        self._again: list[Piece] = []  # to be sent another time
        self._flying: set[Piece] = set()
        self._placed: set[Piece] = set()  # those that hold a place; other threads take them out
        self._queues = False  # whether it waits for a place
        self._granted = False  # whether it has been given one

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing left to do."""
        return not self._jobs

    @property
    def wants_call(self) -> bool:
        """Whether another call may be begun."""
        return (
            len(self._jobs) < AHEAD * self._in_flight
            and len(self._flying) + len(self._again) < self._in_flight
            and not any(job.has_unsent for job in self._jobs)
        )

    def add(self, call: Call, now: float) -> None:
        """Takes on a call; one of no rows is done at once."""
        self._jobs.append(Job(call, count_rows(call.signature, call.inputs), now + self._timeout))

    def add_failed(self, call: Call, fault: Fault, began: float, now: float, epoch: int) -> None:
        """Takes on a call that was sent whole, in a place taken outside of this flight, and failed.

        Raises:
            GradwireError: nothing helps, or not in time.
        """
        self.add(call, began)
        job = self._jobs[-1]
        piece = Piece(job, job.cut_all(), epoch=epoch)
        self._placed.add(piece)
        self.ended(piece, fault)
        self.failed(piece, fault, now)

    def launch(self, now: float) -> Iterator[Sending]:
        """Gives the messages to send now, each made when it is asked for.

        Raises:
            GradwireError: a call's time is up before all of it was sent.
        """
        for job in self._waiting():
            if job.deadline <= now:
                raise self._too_late(job)
        while len(self._flying) < self._in_flight and self._has_ready(now) and self._take_place():
            piece = self._next(now)
            self._flying.add(piece)
            self._placed.add(piece)
            data = piece.job.request(piece.block, self._address)
            yield Sending(piece, data, max(0.0, piece.job.deadline - now))

    def ended(self, piece: Piece, fault: Fault | None) -> None:
        """Gives back the place of a message; from any thread, as soon as it has come to an end.

        A driver may be held up, by whoever uses an answer, before it says ``landed`` or ``failed``: nobody else shall
        wait for that.

        Args:
            piece: its rows.
            fault: why it was not answered; None where it was.
        """
        try:
            self._placed.remove(piece)
        except KeyError:
            return  # given back by close()
        if fault is None:
            self._window.answered()
        elif fault.is_full:
            self._window.refused(piece.epoch)
        else:
            self._window.give()

    def landed(self, piece: Piece, data: bytes) -> None:
        """Takes in an answer.

        Raises:
            ServerError: it is not what was asked for.
        """
        self._flying.discard(piece)
        piece.job.land(piece.block, data)

    def failed(self, piece: Piece, fault: Fault, now: float) -> None:
        """Takes in that a message was not answered.

        Raises:
            GradwireError: nothing helps, or not in time.
        """
        self._flying.discard(piece)
        self._mend(piece, fault, now)

    def finished(self) -> Iterator[Prediction]:
        """Hands over the answers that are complete, in the order of the calls; waits for no place meanwhile."""
        while self._jobs and self._jobs[0].is_done:
            self._leave_queue()
            yield self._jobs.popleft().answer

    def held_up(self, seconds: float) -> None:
        """Puts deadlines off: the driver was busy elsewhere, with nobody to look after the calls."""
        for job in self._jobs:
            job.put_off(seconds)

    def sleep(self, now: float) -> float | None:
        """Tells after how many seconds there is something to do, even if nothing happens; None for never."""
        if self._queues:
            times = [job.deadline for job in self._waiting()]
        elif len(self._flying) < self._in_flight:
            times = [piece.at for piece in self._again]
        else:
            times = []
        return max(0.0, min(times) - now) if times else None

    def close(self) -> None:
        """Gives back the places; the driver has cancelled what was under way."""
        self._leave_queue()
        for piece in self._flying:
            self.ended(piece, _CANCELLED)
        self._flying.clear()

    def _take_place(self) -> bool:
        if self._granted:
            self._granted = self._queues = False
            return True
        if self._queues:
            return False
        if self._window.take():
            return True
        self._queues = True
        self._window.wait(self._grant)
        return False

    def _leave_queue(self) -> None:
        if self._queues:
            self._window.forget(self._grant)
            self._granted = self._queues = False

    def _grant(self) -> None:
        self._granted = True
        self._wake()

    def _waiting(self) -> list[Job]:
        """The calls of which something is to be sent."""
        return [job for job in self._jobs if job.has_unsent] + [piece.job for piece in self._again]

    def _has_ready(self, now: float) -> bool:
        return any(piece.at <= now for piece in self._again) or any(job.has_unsent for job in self._jobs)

    def _next(self, now: float) -> Piece:
        epoch = self._window.epoch
        for piece in self._again:
            if piece.at <= now:
                self._again.remove(piece)
                return replace(piece, epoch=epoch)
        job = next(job for job in self._jobs if job.has_unsent)
        return Piece(job, job.cut(self._limits), epoch=epoch)

    def _too_late(self, job: Job, tries: int = 1) -> GradwireError:
        """The error when the time is up: what has kept the call from being answered, where that is known."""
        fault = job.fault or Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        return translate(fault, self._address, self._timeout, tries)

    def _mend(self, piece: Piece, fault: Fault, now: float) -> None:
        """Sends the rows again, later or in smaller pieces.

        Raises:
            GradwireError: nothing helps, or not in time.
        """
        job, rows = piece.job, piece.block.rows
        allowed = fault.rows_allowed(rows)
        if allowed is not None and rows > 1 and job.can_be_cut(self._limits):
            self._limits.learn(job.call.signature.name, min(allowed, rows - 1))
            job.put_back(piece.block)
            return
        moved = job.is_pinned and fault.code is grpc.StatusCode.NOT_FOUND  # another server behind the address
        late = fault.code is grpc.StatusCode.DEADLINE_EXCEEDED
        if late and not (job.was_put_off and now < job.deadline):
            raise self._too_late(job, piece.tries)
        if not (fault.may_pass or moved or late):
            raise translate(fault, self._address, self._timeout, piece.tries)
        job.fault = fault
        first = FULL_DELAY if fault.is_full else FIRST_DELAY
        delay = random.uniform(0.5, 1) * min(LONGEST_DELAY, first * 2 ** (piece.tries - 1))  # noqa: S311 - jitter
        if now + delay >= job.deadline:
            raise self._too_late(job, piece.tries)
        self._again.append(replace(piece, tries=piece.tries + 1, at=now + delay))
