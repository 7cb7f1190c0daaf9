"""Forms of JSON that comes from strangers: what each entry of a card must be, before anybody uses it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gradwire._errors import PackageError

# Reads a value, given what it is called; raises PackageError where it has another form.
Form: TypeAlias = "Callable[[Any, str], Any]"

DEEPEST: Final = 50  # levels of a card: export writes seven, and Python's own functions give up at a few hundred
_LARGEST_ROW: Final = 2**24  # elements: bounds of every one are made of a few bytes
MOST_AXES: Final = 32  # NumPy's limit in its first versions


def fault(what: str, value: Any, expected: str) -> PackageError:
    """The error of a value that has another form."""
    return PackageError(f"not a package's card: {what} is {reprlib.repr(value)}, expected {expected}")


def anything(value: Any, what: str) -> Any:
    """Take any value, which whoever shows it must not trust."""
    del what
    return value


def text(value: Any, what: str) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise fault(what, value, "text")
    return value


def whole(value: Any, what: str) -> int:
    """Read a whole number from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise fault(what, value, "a whole number from 0 on")
    return value


def finite(value: Any, what: str) -> float:
    """Read a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not _is_finite(value):
        raise fault(what, value, "a finite number")
    return float(value)


def bound(value: Any, what: str) -> Any:
    """Read a number, or nested lists of them; null is one that is not known."""
    if isinstance(value, list):
        return [bound(entry, what) for entry in value]  # pyright: ignore[reportUnknownVariableType] - JSON is untyped
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return finite(value, what)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def row_shape(value: Any, what: str) -> tuple[int, ...]:
    """Read the shape of a row."""
    shape = tuple_of(whole)(value, what)
    if len(shape) > MOST_AXES or math.prod(shape) > _LARGEST_ROW:
        raise fault(what, value, f"at most {MOST_AXES} axes and {_LARGEST_ROW:,} elements")
    return shape


def optional(form: Form) -> Form:
    """Return the form that is also null."""
    return lambda value, what: None if value is None else form(value, what)


def mapping_of(form: Form) -> Form:
    """Return the form of an object whose entries have a form."""

    def read(value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise fault(what, value, "an object")
        entries: dict[str, Any] = {**value}
        return {key: form(entry, f"{what} of {reprlib.repr(key)}") for key, entry in entries.items()}

    return read


def tuple_of(form: Form) -> Form:
    """Return the form of a list whose entries have a form."""

    def read(value: Any, what: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise fault(what, value, "a list")
        items: list[Any] = [*value]
        return tuple(form(item, f"{what}[{index}]") for index, item in enumerate(items))

    return read


def require_plain(value: Any, what: str, levels: int = DEEPEST) -> None:
    """Raise PackageError where lists and objects are nested too deep, or an integer is one that no float holds."""
    if isinstance(value, (list, dict)):
        if levels == 0:
            raise PackageError(f"not a package's card: {what} is nested more than {DEEPEST} levels deep")
        entries: list[Any] = [*(value.values() if isinstance(value, dict) else value)]
        for entry in entries:
            require_plain(entry, what, levels - 1)
    elif isinstance(value, int) and not _is_finite(value):
        raise fault(what, value, "numbers that a float holds")
