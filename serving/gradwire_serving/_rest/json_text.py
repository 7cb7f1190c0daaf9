"""JSON as TensorFlow Serving reads and writes it: with RapidJSON, and bare ``NaN`` and ``Infinity``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import rapidjson

from gradwire_serving._core import invalid_argument

INDENT: Final = 4  # spaces, RapidJSON's own
MAX_ECHO: Final = 20_000  # characters of a request that an error repeats: indented, 6 kB of nested objects become 4 MB

_NUMBERS: Final = rapidjson.NM_NAN | rapidjson.NM_NATIVE  # 64-bit integers and doubles: 3.5 times faster than `json`
_TYPES: Final = {bool: "Bool", int: "Number", float: "Number", str: "String", list: "Array", dict: "Object"}
# Bytes of CPython 3.11's objects, with the garbage collector's header: of a list, of an object with a member, of a
# number and its place, of a string. (`bytes.count` takes 10 ms for 64 MiB.)
_SIZES: Final = ((b"[", 88), (b"{", 250), (b",", 40), (b'"', 32))
# Digits that most numbers need, and those that hold every number of the type.
_SHORT_DIGITS: Final = 6
_ALL_DIGITS: Final = {4: 9, 8: 17}  # by the bytes of a float


def parse(body: bytes) -> dict[str, Any]:
    """Parse a request's body, which has to be an object; INVALID_ARGUMENT in TensorFlow Serving's words."""
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document = rapidjson.loads(body, number_mode=_NUMBERS)
    except rapidjson.JSONDecodeError as error:
        offset, _, reason = str(error).removeprefix("Parse error at offset ").partition(": ")
        raise invalid_argument(f"JSON Parse error: {reason} at offset: {offset}") from error
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: lists and objects are nested too deeply") from error
    if not isinstance(document, dict):
        raise format_error(document, "Is not object")
    return document


def parsed_size(body: bytes) -> int:
    """Return about how many bytes the parsed body takes at most: 22 million empty lists in 64 MiB are 1.6 GB."""
    return len(body) + sum(body.count(mark) * size for mark, size in _SIZES)


def text(value: Any) -> str:
    """Return a JSON value as an error shows it."""
    shown = rapidjson.dumps(
        value, indent=INDENT, write_mode=rapidjson.WM_SINGLE_LINE_ARRAY, number_mode=_NUMBERS, ensure_ascii=False
    )
    return shown if len(shown) <= MAX_ECHO else f"{shown[:MAX_ECHO]}…"


def format_error(value: Any, reason: str) -> Exception:
    """Return the error for a value of the wrong form."""
    return invalid_argument(f"JSON Value: {text(value)} {reason}")


def type_name(value: Any) -> str:
    """Return RapidJSON's name of a value's type."""
    match value:
        case None:
            return "Null"
        case True:
            return "True"
        case False:
            return "False"
        case _:
            return _TYPES[type(value)]


def quoted(string: str | bytes) -> str:
    """Return a string as JSON; bytes that are not UTF-8 pass as they are, by surrogates."""
    if isinstance(string, str):
        return rapidjson.dumps(string, ensure_ascii=False)
    try:
        return quoted(string.decode())
    except UnicodeDecodeError:
        return '"' + "".join(_escaped(char) for char in string.decode(errors="surrogateescape")) + '"'


def decimals(array: np.ndarray) -> list[str]:
    """Write the numbers of a float array, flat: with six digits where they hold the number, else with all.

    A half is written as the float that it equals, as there.
    """
    numbers = array.reshape(-1).astype(max(array.dtype, np.dtype(np.float32)))
    texts = [f"{number:.{_SHORT_DIGITS}g}" for number in numbers.tolist()]
    with np.errstate(over="ignore"):
        read = np.array([float(number) for number in texts]).astype(numbers.dtype)
    for index in np.flatnonzero((read != numbers) & np.isfinite(numbers)).tolist():
        texts[index] = f"{float(numbers[index]):.{_ALL_DIGITS[numbers.dtype.itemsize]}g}"
    return [_NAMED[number] if number in _NAMED else _with_point(number) for number in texts]


_NAMED: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _with_point(number: str) -> str:
    # So that readers in typed languages see a float in every element.
    return number if "." in number or "e" in number else f"{number}.0"


def _escaped(char: str) -> str:
    return char if "\udc80" <= char <= "\udcff" else rapidjson.dumps(char, ensure_ascii=False)[1:-1]
