"""Arrays to the body of a response, laid out as RapidJSON's ``PrettyWriter`` lays out TensorFlow Serving's."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gradwire_serving._core import invalid_argument
from gradwire_serving._rest.json_text import INDENT, decimals, quoted
from gradwire_serving._rest.requests import BASE64, Form

BYTES_SUFFIX: Final = "_bytes"  # of outputs whose strings are bytes, written in base64


def body_of(outputs: Mapping[str, np.ndarray], form: Form) -> str:
    """Write outputs in the form of their request: ``predictions`` for rows, ``outputs`` for columns."""
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    return _rows(outputs) if form is Form.ROWS else _columns(outputs)


def error_body(message: str) -> str:
    """Write an error."""
    return f'{{\n{" " * INDENT}"error": {quoted(message)}\n}}'


def _columns(outputs: Mapping[str, np.ndarray]) -> str:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _object({"outputs": _lines(_texts(name, array, 1), 1)}, 0)
    tensors = {name: _lines(_texts(name, array, 2), 2) for name, array in outputs.items()}
    return _object({"outputs": _object(tensors, 1)}, 0)


def _rows(outputs: Mapping[str, np.ndarray]) -> str:
    _check_batch(outputs)
    if len(outputs) == 1:
        # RapidJSON lays out a list by how it is set when an element comes: on one line, and at the end on a new one.
        ((name, array),) = outputs.items()
        rows = [_line(row) for row in _texts(name, array, 1)]
        return _object({"predictions": f"[{', '.join(rows)}\n{_space(1)}]" if rows else "[]"}, 0)
    columns = {name: _texts(name, array, 2) for name, array in outputs.items()}
    rows = [
        _object({name: _line(row) for name, row in zip(columns, values, strict=True)}, 2)
        for values in zip(*columns.values(), strict=True)
    ]
    return _object({"predictions": _list(rows, 1)}, 0)


def _check_batch(outputs: Mapping[str, np.ndarray]) -> None:
    sizes: list[int] = []
    for name, array in outputs.items():
        if not array.shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        for expected in sizes[:1]:
            if array.shape[0] != expected:
                raise invalid_argument(
                    f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {expected}"
                )
        sizes.append(array.shape[0])


def _texts(name: str, array: np.ndarray, level: int) -> Any:
    """Return an array as nested lists of the JSON texts of its elements, which lie at some level of the document."""
    flat = np.empty(array.size, object)
    flat[:] = _elements(name, array, level + array.ndim)
    return flat.reshape(array.shape).tolist()


def _elements(name: str, array: np.ndarray, level: int) -> list[str]:
    match array.dtype.kind:
        case "f":
            return decimals(array)
        case "i" | "u":
            return [str(number) for number in array.reshape(-1).tolist()]
        case "b":
            return ["true" if value else "false" for value in array.reshape(-1).tolist()]
        case "O":
            strings: list[bytes] = array.reshape(-1).tolist()
            if name.endswith(BYTES_SUFFIX):
                encoded = (base64.b64encode(string).decode() for string in strings)
                return [_object({BASE64: quoted(string)}, level) for string in encoded]
            return [quoted(string) for string in strings]
        case _:
            raise invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype.name}")


def _lines(value: Any, level: int) -> str:
    """Lay out nested lists with a line an element."""
    return _list([_lines(item, level + 1) for item in value], level) if isinstance(value, list) else value


def _line(value: Any) -> str:
    """Lay out nested lists on one line."""
    return f"[{', '.join(_line(item) for item in value)}]" if isinstance(value, list) else value


def _list(items: list[str], level: int) -> str:
    inner = f"\n{_space(level + 1)}"
    return f"[{inner}{f',{inner}'.join(items)}\n{_space(level)}]" if items else "[]"


def _object(members: Mapping[str, str], level: int) -> str:
    inner = f"\n{_space(level + 1)}"
    return f"{{{inner}{f',{inner}'.join(f'{quoted(key)}: {item}' for key, item in members.items())}\n{_space(level)}}}"


def _space(level: int) -> str:
    return " " * (INDENT * level)
