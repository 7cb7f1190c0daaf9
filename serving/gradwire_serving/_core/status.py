"""Why a call or a load failed: a status code and a text, which each front end reports in its own form."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import tensorflow as tf

from gradwire._errors import ServerError


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


def status_of(error: Exception) -> Status:
    """Return the status that an error stands for; UNKNOWN for one that is neither ours nor TensorFlow's."""
    match error:
        case StatusError():
            return error.status
        case tf.errors.OpError():
            return Status(Code(error.error_code), error.message)
        case _:
            return Status(Code.UNKNOWN, str(error))
