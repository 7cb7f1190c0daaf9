"""Arrays on the wire, against TensorFlow's own reading and writing."""

from __future__ import annotations

import base64
import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

import gradwire
from gradwire._package.dtypes import BY_NAME
from gradwire._wire import proto
from gradwire._wire.tensor import decode, encode

RAW = {
    "float32": np.array([[0.0, -0.0, 1e-45], [np.nan, np.inf, -np.inf]], np.float32),
    "float64": np.array([[0.1, -0.0, 5e-324], [np.nan, np.inf, -1.7e308]]),
    "float16": np.array([[0.1, -0.0, 6e-8], [np.nan, np.inf, -65504.0]], np.float16),
    "bfloat16": np.array([[0.1, -0.0, 1e-40], [np.nan, np.inf, -3e38]], ml_dtypes.bfloat16),
    "int8": np.array([[-128, 127, 0]], np.int8),
    "int16": np.array([[-32768, 32767, 0]], np.int16),
    "int32": np.array([[-(2**31), 2**31 - 1, 0]], np.int32),
    "int64": np.array([[-(2**63), 2**63 - 1, 0]], np.int64),
    "uint8": np.array([[255, 1, 0]], np.uint8),
    "uint16": np.array([[65535, 1, 0]], np.uint16),
    "uint32": np.array([[2**32 - 1, 1, 0]], np.uint32),
    "uint64": np.array([[2**64 - 1, 1, 0]], np.uint64),
    "bool": np.array([[True, False, True]]),
    "complex64": np.array([[1 + 2j, complex(np.nan, -0.0)]], np.complex64),
    "complex128": np.array([[1 + 2j, complex(-np.inf, 5e-324)]]),
    "string": np.array([[b"", b"\xff\xfe", b"x" * 300]], object),
}


def bits(array: np.ndarray) -> Any:
    """What must be equal for arrays to be the same to the last bit."""
    return array.tolist() if array.dtype == object else (array.dtype, array.shape, array.tobytes())


def in_fields(array: np.ndarray) -> tensor_pb2.TensorProto:
    """TensorFlow's encoding in typed fields, as the stock server answers."""
    proto = tf.make_tensor_proto(array)  # in tensor_content where there are several numbers
    if proto.tensor_content:
        name = proto.DESCRIPTOR.fields_by_number[1].enum_type.values_by_number[proto.dtype].name
        field = BY_NAME[tf.dtypes.as_dtype(proto.dtype).name].field
        proto.ClearField("tensor_content")
        flat = array.reshape(-1)
        if name in ("DT_HALF", "DT_BFLOAT16"):
            flat = flat.view(np.uint16)
        elif name.startswith("DT_COMPLEX"):
            flat = flat.view(flat.real.dtype)
        getattr(proto, field).extend(flat.tolist())
    return proto


def read(message: tensor_pb2.TensorProto) -> np.ndarray:
    """Reads a TensorProto of TensorFlow."""
    return decode(proto.Tensor.FromString(message.SerializeToString()), "y")


@pytest.mark.parametrize("dtype", RAW)
@pytest.mark.parametrize("encoding", [tf.make_tensor_proto, in_fields])
def test_reads_what_tensorflow_writes(dtype: str, encoding: Any):
    """Every dtype is read to the last bit, from tensor_content and from typed fields; bfloat16 widens exactly."""
    proto = encoding(RAW[dtype])
    expected = RAW[dtype].astype(np.float32) if dtype == "bfloat16" else RAW[dtype]
    assert bits(read(proto)) == bits(expected)
    if dtype != "string":
        assert np.array_equal(read(proto), tf.make_ndarray(proto).astype(expected.dtype), equal_nan=dtype[0] in "fbc")


@pytest.mark.parametrize("dtype", RAW)
def test_tensorflow_reads_what_is_written(dtype: str):
    """What is sent is what TensorFlow's own reader finds, of any dtype."""
    message = proto.Tensor()
    encode(RAW[dtype].astype(np.float32) if dtype == "bfloat16" else RAW[dtype], dtype, message)
    found = tf.make_ndarray(tensor_pb2.TensorProto.FromString(message.SerializeToString()))
    assert bits(found) == bits(RAW[dtype])


def test_bfloat16_rounds_as_tensorflow_does():
    """float32 is rounded to bfloat16 to nearest, ties to even."""
    values = np.random.default_rng(0).uniform(-10, 10, 1000).astype(np.float32)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    for array in (values, ties):
        message = proto.Tensor()
        encode(array, "bfloat16", message)
        assert np.array_equal(decode(message, "x"), array.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("layout", ["big endian", "strided", "transposed", "read-only"])
def test_layouts(layout: str):
    """The bytes sent are right whatever the array's byte order and strides."""
    array = np.arange(12.0).reshape(3, 4)
    given = {
        "big endian": array.astype(">f8"),
        "strided": np.repeat(array, 2, axis=1)[:, ::2],
        "transposed": np.asfortranarray(array),
        "read-only": np.broadcast_to(array, (3, 4)),
    }[layout]
    message = proto.Tensor()
    encode(given, "float64", message)
    assert bits(decode(message, "x")) == bits(array)


def tensor(dtype: str, shape: tuple[int, ...], **fields: Any) -> Any:
    """A TensorProto with these fields."""
    message = proto.Tensor(dtype=BY_NAME[dtype].number, **fields)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


TWO = np.array([1.0, 2.0], np.float32).tobytes()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (tensor("float32", (3,), float_val=[TWO]), [1, 2, 2]),
        (tensor("float32", (0, 2)), np.empty((0, 2))),
        (tensor("float32", (), float_val=[TWO[:4]]), 1),
        (tensor("float32", (2,), float_val=[TWO[:4], TWO[4:]]), [1, 2]),
        (tensor("float32", (2,), float_val=[TWO[:3], TWO[3:]]), [1, 2]),
        (tensor("int32", (2, 2), int_val=[7]), [[7, 7], [7, 7]]),
        (tensor("bool", (2,), bool_val=[True]), [True, True]),
        (tensor("string", (2,), string_val=[b"a"]), [b"a", b"a"]),
        (tensor("string", (2,), tensor_content=base64.b64decode("AgJhIWIh")), [b"a!", b"b!"]),
        (tensor("float32", (2,), float_val=[TWO], tensor_content=TWO[4:] + TWO[:4]), [2, 1]),
    ],
)
def test_servings_rules_for_values(message: Any, expected: Any):
    """Fewer values than the shape: the last repeats; packed fields may come in pieces; content wins."""
    found = decode(message, "y")
    assert found.dtype == BY_NAME[{v.number: k for k, v in BY_NAME.items()}[message.dtype]].numpy
    assert np.array_equal(found, np.asarray(expected, found.dtype))


HOSTILE: dict[str, tuple[Any, Any]] = {
    "no values at all": (tensor("float32", (2,)), None),
    "no strings at all": (tensor("string", (2,)), None),
    "one value for a terabyte": (tensor("float32", (2**38,), float_val=[TWO[:4]]), None),
    "one value for more columns than there are": (tensor("float32", (2, 2**38), float_val=[TWO[:4]]), (2, 3)),
    "one value for any number of columns": (tensor("float32", (2, 2**38), float_val=[TWO[:4]]), (2, None)),
    "another rank": (tensor("float32", (2,), float_val=[TWO]), (2, 1)),
    "rows too few": (tensor("float32", (2, 1), float_val=[TWO]), (3, 1)),
    "a length that never ends": (tensor("string", (1,), tensor_content=b"\xff" * 600_000), None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tensor_costs_no_more_than_its_message(name: str):
    """It is refused before anything is filled, and lengths are read in linear time."""
    message, expected = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(gradwire.ServerError, match="the response's tensor 'y' has"):
        decode(message, "y", expected)
    assert time.process_time() - began < 1  # 600 KB took ten seconds


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_values_written_one_by_one(dtype: str):
    """An encoder that does not pack its numbers is read too, not taken for a tensor of zeros."""
    known = BY_NAME[dtype]
    array = np.array([1.5, -2.25], dtype)
    number = proto.Tensor.DESCRIPTOR.fields_by_name[known.field].number
    key = bytes([number << 3 | (5 if known.scalar_bytes == 4 else 1)])
    raw, width = array.tobytes(), known.scalar_bytes
    single = b"".join(key + raw[at : at + width] for at in range(0, len(raw), width))
    message = proto.Tensor.FromString(tensor(dtype, (2,)).SerializeToString() + single)
    assert bits(decode(message, "y")) == bits(array)
    mixed = proto.Tensor.FromString(
        message.SerializeToString() + tensor(dtype, (), **{known.field: [raw[:16]]}).SerializeToString()
    )
    mixed.tensor_shape.dim[0].size = 3
    with pytest.raises(gradwire.ServerError, match="packed"):
        decode(mixed, "y")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (tensor("float32", (1,), float_val=[TWO]), "has 2 values of float32, expected 1"),
        (tensor("float32", (2,), float_val=[TWO[:7]]), "has 7 bytes of values, expected a multiple of 4"),
        (tensor("float32", (3,), tensor_content=TWO), "has 8 bytes, expected 3 values of float32"),
        (tensor("float32", (1,), double_val=[b"\0" * 8]), "0 values of float32 and some in double_val"),
        (
            tensor("complex64", (2,), scomplex_val=[TWO[:4]]),
            "has 4 bytes of values, expected a multiple of 8",
        ),
        (tensor("int8", (1,), int_val=[128]), "out of range, expected values of int8"),
        (tensor("uint16", (1,), int_val=[-1]), "out of range"),
        (tensor("float16", (1,), half_val=[70000]), "out of range"),
        (tensor("string", (2,), tensor_content=b"\x05a"), "expected 2 strings"),
        (tensor("string", (1,), tensor_content=b"\x01ab"), "expected 1 strings"),
        (tensor("float32", (-1,)), r"has the shape \(-1,\), expected at most 32 axes, none of a negative size"),
        (proto.Tensor(dtype=20), "dtype number 20"),
        (proto.Tensor(dtype=1, tensor_shape={"unknown_rank": True}), "has no shape"),
    ],
)
def test_values_that_do_not_fit_are_refused(message: Any, text: str):
    """Whatever does not fit its shape or dtype is an error that names the tensor, never a wrong number."""
    with pytest.raises(gradwire.ServerError, match=text) as error:
        decode(message, "y")
    assert "'y'" in str(error.value)
