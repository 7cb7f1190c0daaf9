"""The body of ``:predict`` to arrays: rows (``instances``) or columns (``inputs``).

Errors are TensorFlow Serving's (``json_tensor.cc``, recorded in tests/conformance), found in its order. Most bodies are
well formed, so NumPy converts each tensor at once, and only what it cannot convert is walked element by element.
"""

from __future__ import annotations

import base64
import binascii
import enum
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from gradwire_serving._core import Code, StatusError, invalid_argument
from gradwire_serving._rest.json_text import format_error, text, type_name

INSTANCES: Final = "instances"
INPUTS: Final = "inputs"
EXAMPLES: Final = "examples"
SIGNATURE_NAME: Final = "signature_name"
BASE64: Final = "b64"

_INTEGERS: Final = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64)  # not uint16, as there
_FLOATS: Final = (tf.float32, tf.float64)

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


class Form(enum.Enum):
    """How the tensors of a request are written, and so those of its response."""

    ROWS = INSTANCES  # a list of rows, each a value or an object of named values
    COLUMNS = INPUTS  # a tensor, or an object of named tensors


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the signature that a body names; empty for none."""
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def tensors_of(document: Mapping[str, Any], infos: TensorInfos) -> tuple[Form, dict[str, np.ndarray]]:
    """Return a body's tensors by input name, and the form in which they were written."""
    if INSTANCES in document and INPUTS in document:
        raise format_error(
            document, f"Not formatted correctly expecting only one of '{INPUTS}' or '{INSTANCES}' keys to exist "
        )
    if INSTANCES in document:
        rows = document[INSTANCES]
        if not isinstance(rows, list):
            raise format_error(document, f"Expecting '{INSTANCES}' to be an list/array")
        if not rows:
            raise format_error(document, f"No values in '{INSTANCES}' array")
        return Form.ROWS, _from_rows(rows, infos)
    if INPUTS in document:
        return Form.COLUMNS, _from_columns(document[INPUTS], infos)
    raise invalid_argument(f"Missing '{INPUTS}' or '{INSTANCES}' key")


def check_examples(document: Mapping[str, Any]) -> None:
    """Check the ``examples`` of ``:classify`` and ``:regress``; no package takes them, so their values are not read."""
    if EXAMPLES not in document:
        raise format_error(document, f"When method is classify, key '{EXAMPLES}' is expected and was not found")
    examples = document[EXAMPLES]
    if not isinstance(examples, list):
        raise format_error(document, f"Expecting '{EXAMPLES}' value to be an list/array")
    if not examples:
        raise format_error(document, f"'{EXAMPLES}' value is an empty array")
    for example in examples:
        if not isinstance(example, dict):
            raise invalid_argument(f"Example must be JSON object but got JSON {type_name(example)}")


def _from_columns(value: Any, infos: TensorInfos) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or _is_base64(value):
        if len(infos) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = dict.fromkeys(infos, value)
    tensors = {}
    for name in sorted(infos):
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in '{INPUTS}' object.")
        tensors[name] = _tensor(value[name], _dtype(infos[name]))
    return tensors


def _from_rows(rows: list[Any], infos: TensorInfos) -> dict[str, np.ndarray]:
    named = isinstance(rows[0], dict) and not _is_base64(rows[0])
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    if not named:
        (name,) = sorted(infos)[:1]
        column = _quickly(rows, _dtype(infos[name]))
        return {name: _row_by_row(rows, infos)[name] if column is None else column}
    if all(isinstance(row, dict) and row.keys() == infos.keys() for row in rows):
        columns = {name: _quickly([row[name] for row in rows], _dtype(info)) for name, info in infos.items()}
        complete = {name: column for name, column in columns.items() if column is not None}
        if len(complete) == len(columns):
            return complete
    return _row_by_row(rows, infos, named=True)


def _row_by_row(rows: list[Any], infos: TensorInfos, *, named: bool = False) -> dict[str, np.ndarray]:
    columns: dict[str, list[np.ndarray]] = {name: [] for name in infos}
    for number, row in enumerate(rows):
        if named and (not isinstance(row, dict) or _is_base64(row)):
            raise invalid_argument(f"Expecting object but got list at item {number} of input list")
        if not named and isinstance(row, dict) and not _is_base64(row):
            raise invalid_argument(f"Expecting value/list but got object at item {number} of input list")
        for name, value in (row if named else {min(infos): row}).items():
            try:
                _add(columns, name, value, infos)
            except StatusError as error:
                key = f" key: {name}" if named else ""
                raise invalid_argument(
                    f"Failed to process element: {number}{key} of '{INSTANCES}' list. Error: {error.status}"
                ) from error
        if named and row.keys() != infos.keys():
            raise invalid_argument(
                f"Failed to process element: {number} of '{INSTANCES}' list. JSON object: {text(row)} keys must be "
                f"equal to: {','.join(sorted(infos))}"
            )
    return {name: np.stack(column) for name, column in columns.items()}


def _add(columns: dict[str, list[np.ndarray]], name: str, value: Any, infos: TensorInfos) -> None:
    if name not in infos:
        raise invalid_argument(f"JSON object: does not have named input: {name}")
    tensor = _tensor(value, _dtype(infos[name]))
    for first in columns[name][:1]:
        if tensor.size != first.size:
            raise invalid_argument(f"Expecting tensor size: {first.size} but got: {tensor.size}")
        if tensor.shape != first.shape:
            raise invalid_argument(f"Expecting shape {_shape(first)} but got: {_shape(tensor)}")
    columns[name].append(tensor)


def _tensor(value: Any, dtype: tf.DType) -> np.ndarray:
    converted = _quickly(value, dtype)
    return _element_by_element(value, dtype) if converted is None else converted


def _quickly(value: Any, dtype: tf.DType) -> np.ndarray | None:
    """Convert lists of numbers by NumPy; None where that is not the whole truth, such as a bool among floats."""
    if not isinstance(value, list) or dtype not in (*_FLOATS, *_INTEGERS):
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # ragged, or too deep
        return None
    if array.dtype.kind not in ("iu" if dtype in _INTEGERS else "iuf") or not array.size or _has_bool(value):
        return None
    if dtype in _INTEGERS and not (dtype.min <= array.min() and array.max() <= dtype.max):
        return None
    with np.errstate(over="ignore"):  # 1e39 is infinite in float32, as there
        return array.astype(dtype.as_numpy_dtype)


def _has_bool(value: list[Any]) -> bool:
    return any(_has_bool(item) if isinstance(item, list) else isinstance(item, bool) for item in value)


def _element_by_element(value: Any, dtype: tf.DType) -> np.ndarray:
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    flat: list[Any] = []
    _fill(value, 0, shape, dtype, flat)
    kind = object if dtype == tf.string else dtype.as_numpy_dtype
    array = np.empty(math.prod(shape), kind)
    with np.errstate(over="ignore"):
        array[:] = flat
    try:
        return array.reshape(shape)
    except ValueError as error:  # NumPy has 64 axes at most
        raise invalid_argument(f"a tensor of rank {len(shape)}; expected at most 64") from error


def _fill(value: Any, level: int, shape: list[int], dtype: tf.DType, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise format_error(
                value, f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, dtype, flat)


def _element(value: Any, dtype: tf.DType) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match value:
        case dict() if dtype == tf.string:
            return _decode_base64(value)
        case str() if dtype == tf.string:
            return value.encode()
        case bool() if dtype == tf.bool:
            return value
        case _ if number and dtype in _FLOATS:
            return float(value)
        case int() if number and dtype in _INTEGERS and dtype.min <= value <= dtype.max:
            return value
        case _ if dtype in (tf.string, tf.bool, *_FLOATS, *_INTEGERS) or isinstance(value, dict):
            raise format_error(value, f"Type: {type_name(value)} is not of expected type: {_type_text(dtype)}")
        case _:
            raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {text(value)} to type: {dtype.name}")


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {BASE64} and isinstance(value[BASE64], str)


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    try:
        return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _dtype(info: meta_graph_pb2.TensorInfo) -> tf.DType:
    return tf.dtypes.as_dtype(info.dtype)


def _type_text(dtype: tf.DType) -> str:
    return {tf.float32: "float", tf.float64: "double"}.get(dtype, dtype.name)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
