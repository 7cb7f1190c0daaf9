"""Why a call or a load failed: a status code and a text, which each front end reports in its own form."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

from gradwire._errors import ServerError

DEADLINE_EXCEEDED: Final = "Deadline Exceeded"  # gRPC's words: a caller sees them if its clock is a little behind

INTERNAL_ERROR: Final = "the server failed; its log has the cause"  # all that a caller learns of a fault

# What a caller's terminal or log must not be made to execute: control characters other than tab and line feed.
_CONTROL: Final = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
MAX_TEXT: Final = 6000  # bytes as gRPC sends it, in metadata, which is limited to 8 KiB
LONGEST_CHARACTER: Final = 12  # bytes: percent-encoded


class Code(enum.IntEnum):
    """The status codes that gRPC and TensorFlow share, by their common numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Status:
    """A code and its text."""

    code: Code
    message: str

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class StatusError(ServerError):
    """Ends a call or a load with a status.

    A ``gradwire.ServerError``, which is what callers of a ``Servable`` in their own process expect.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message, code=code.name)
        self.status = Status(code, message)


def invalid_argument(message: str) -> StatusError:
    """Return the error for a request that its sender has to change."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def deadline_exceeded() -> StatusError:
    """Return the error for a call whose time is over."""
    return StatusError(Code.DEADLINE_EXCEEDED, DEADLINE_EXCEEDED)


def printable(text: str) -> str:
    """Return a text that may echo what a stranger sent: control characters escaped, and not too long to be sent."""
    text = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    size = 0
    for position, character in enumerate(text if len(text) * LONGEST_CHARACTER > MAX_TEXT else ""):
        size += 1 if " " <= character <= "~" else 3 * len(character.encode())
        if size > MAX_TEXT:
            return f"{text[:position]}…"
    return text


def status_of(error: Exception) -> Status:
    """Return the status that an error stands for; UNKNOWN for one that is neither ours nor TensorFlow's."""
    match error:
        case StatusError():
            return error.status
        case tf.errors.OpError():
            return Status(Code(error.error_code), error.message)
        case _:
            return Status(Code.UNKNOWN, str(error))
