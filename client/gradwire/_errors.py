"""The exceptions, as one tree.

    GradwireError
    ├── UsageError                the call cannot be carried out as it was made: change it
    │   ├── InputError            the input arrays do not fit the signature
    │   │   ├── InputNameError    names missing, extra or twice
    │   │   ├── ShapeError        a shape that the contract does not allow
    │   │   ├── DTypeError        a dtype that cannot be cast without losing digits
    │   │   └── ExtrapolationError  points outside of the domain that the samples covered
    │   ├── SignatureNotFound     the package has no such signature
    │   ├── DataError             samples or a table of points that cannot be used
    │   └── MissingExtra          an optional dependency is not installed
    ├── ServerUnreachable         nothing responded at the address
    ├── DeadlineExceeded          the response did not come in time
    ├── ModelNotFound             the server has no such model, version or label
    ├── ServerError               the server refused or failed; carries its code and message
    ├── PackageError              a directory is not a package, is corrupt, exists already, or cannot be written
    ├── CheckFailed               a package's derivatives or values are wrong
    └── ConversionError           a model does not have a derivative, or not row by row

Every message states what was got, what was expected, and what to do.
"""

from __future__ import annotations

from typing import ClassVar, Final

# Exit codes of the command.
FAULT: Final = 1
MISUSE: Final = 2
REFUSED: Final = 3


class GradwireError(Exception):
    """Base of everything that Gradwire raises on purpose.

    Attributes:
        exit_code: of the command: 1 where a check failed or something is faulty, 2 for misuse, 3 where a server was not
            reached or refused.
    """

    exit_code: ClassVar[int] = FAULT

    def __init__(self, *args: object) -> None:
        # Parts of a message come from servers and files: a terminal must not obey them.
        super().__init__(*(printable(arg) if isinstance(arg, str) else arg for arg in args))


def printable(text: str) -> str:
    """Replace control characters and terminal commands, which text from a server may carry."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


class UsageError(GradwireError, ValueError):
    """The call cannot be carried out as it was made."""

    exit_code: ClassVar[int] = MISUSE


class InputError(UsageError):
    """The input arrays do not fit the signature."""


class InputNameError(InputError):
    """An input is missing, unknown, or there twice."""


class ShapeError(InputError):
    """An array's shape does not fit the signature."""


class DTypeError(InputError):
    """An array's dtype would lose digits in the signature's dtype."""


class ExtrapolationError(InputError):
    """Points lie outside of the domain on the card, and ``on_extrapolation="raise"``."""


class ExtrapolationWarning(UserWarning):
    """Points lie outside of the domain on the card, and ``on_extrapolation="warn"``."""


class SignatureNotFound(UsageError):  # noqa: N818 - it says what happened
    """The package has no such signature."""


class DataError(UsageError):
    """Samples, or a table of points, cannot be used as they are."""


class MissingExtra(UsageError):  # noqa: N818 - it says what happened
    """An optional dependency is not installed; the message names the extra that brings it."""


class ServerUnreachable(GradwireError):  # noqa: N818 - it says what happened
    """Nothing responded at the address."""

    exit_code: ClassVar[int] = REFUSED


class DeadlineExceeded(GradwireError):  # noqa: N818 - it says what happened
    """The response did not come within the timeout."""

    exit_code: ClassVar[int] = REFUSED


class ModelNotFound(GradwireError):  # noqa: N818 - it says what happened
    """The server has no such model, version or label."""

    exit_code: ClassVar[int] = REFUSED


class ServerError(GradwireError):
    """The server refused the call or failed.

    Attributes:
        code: name of the gRPC status code, such as ``"INVALID_ARGUMENT"``.
    """

    exit_code: ClassVar[int] = REFUSED

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return _restore_server_error, (str(self), self.code)


def _restore_server_error(message: str, code: str) -> ServerError:
    return ServerError(message, code=code)


class PackageError(GradwireError):
    """A directory is not a package, is corrupt, exists already, or cannot be written."""


class CheckFailed(GradwireError):  # noqa: N818 - it says what happened
    """A check failed: values or derivatives are wrong."""


class ConversionError(GradwireError):
    """A model does not have a derivative, or not row by row, so it cannot be exported."""
