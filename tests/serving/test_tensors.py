"""TensorProto in and out: against tf.make_ndarray, and the rules that it does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from gradwire._errors import ServerError
from gradwire_serving._wire.tensors import TensorMap, decode, encode

DTYPES = [
    *(
        "float32",
        "float64",
        "float16",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ),
    *("bool", "complex64", "complex128"),
]
ARRAYS = [np.array([[0, 1, 2], [3, 100, 5]]).astype(dtype) for dtype in DTYPES]
ARRAYS += [np.array([1, -2.5, 3e38], tf.bfloat16.as_numpy_dtype), np.array([b"a", b"", b"\xff\x00"], object)]
ARRAYS += [np.array(1.5), np.array(b"s\x00", object), np.zeros((0, 3), np.float32), np.zeros((2, 0), object)]
ARRAYS += [np.arange(12.0).reshape(3, 4).T, np.array([-1, -128], np.int8), np.array([-(2**63), 2**63 - 1])]


def _proto(array: np.ndarray, *, as_content: bool) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto.FromString(b"".join(encode(array, as_content=as_content)))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
@pytest.mark.parametrize("as_content", [False, True])
def test_an_array_comes_back_as_it_was(array: np.ndarray, as_content: bool):
    """Every dtype and layout survives both encodings, and an encoded tensor is in the field it belongs to."""
    proto = _proto(array, as_content=as_content)
    assert _same(decode(proto, "x"), array)
    assert bool(proto.tensor_content) == (as_content and array.size > 0)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_tensorflow_reads_what_is_written_and_writes_what_is_read(array: np.ndarray):
    """Typed fields are those of tf.make_ndarray and tf.make_tensor_proto."""
    assert _same(tf.make_ndarray(_proto(array, as_content=False)), array)
    assert _same(decode(tf.make_tensor_proto(array), "x"), array)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 5e-324])
def test_numbers_that_are_not_ordinary_travel_exactly(value: float):
    """NaN, infinities, a negative zero and a denormal keep their bits."""
    array = np.array([value])
    assert decode(_proto(array, as_content=False), "x").tobytes() == array.tobytes()


def _tensor(dtype: tf.DType, shape: list[int], **fields: Any) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **fields)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (_tensor(tf.float32, [3], float_val=[1, 2]), [1, 2, 2]),
        (_tensor(tf.float32, [2], float_val=[1, 2, 3]), [1, 2]),
        (_tensor(tf.float32, [2]), [0, 0]),
        (_tensor(tf.float32, [2], double_val=[1, 2]), [0, 0]),
        (_tensor(tf.int8, [3], int_val=[1, 200]), [1, -56, -56]),
        (_tensor(tf.half, [3], half_val=[15360]), [1, 1, 1]),
        (_tensor(tf.half, [2], half_val=[-17408, 15360 + 2**16]), [-1, 1]),
        (_tensor(tf.complex64, [2], scomplex_val=[1, 2, 3]), [1 + 2j, 1 + 2j]),
        (_tensor(tf.complex64, [1], scomplex_val=[1]), [0]),
        (_tensor(tf.string, [3], string_val=[b"a", b"b"]), [b"a", b"b", b"b"]),
        (_tensor(tf.string, [2]), [b"", b""]),
        (_tensor(tf.bool, [3], bool_val=[True]), [True, True, True]),
        (_tensor(tf.float32, [], float_val=[7]), 7),
    ],
    ids=str,
)
def test_values_are_repeated_cut_and_filled_as_tensorflow_does(tensor: tensor_pb2.TensorProto, expected: object):
    """The last value repeats, extra ones are cut, none means zero, integers wrap."""
    assert decode(tensor, "x").tolist() == expected


@pytest.mark.parametrize(
    "tensor",
    [
        _tensor(tf.float32, [-1, 1], float_val=[1]),
        _tensor(tf.float32, [2**40, 2**40], float_val=[1]),
        _tensor(tf.float32, [2**40, 2**40, 0]),
        _tensor(tf.float32, [1] * 255, float_val=[1]),
        _tensor(tf.float32, [2], tensor_content=b"1234567"),
        _tensor(tf.string, [2], tensor_content=b"\x02\x02a!b"),
        _tensor(tf.string, [2], tensor_content=b"\x80\x80"),
        _tensor(tf.string, [2**50], tensor_content=b"\x01a"),
        _tensor(tf.string, [1], tensor_content=b"\xff" * 1_000_000),
        _tensor(tf.variant, [1]),
        tensor_pb2.TensorProto(float_val=[1]),
        tensor_pb2.TensorProto(dtype=999, float_val=[1]),
    ],
    ids=lambda tensor: str(tensor)[:100],
)
def test_a_malformed_tensor_is_refused_by_name(tensor: tensor_pb2.TensorProto):
    """The text is the real server's, with the input's name."""
    with pytest.raises(ServerError, match=r"^tensor parsing error: spot$") as caught:
        decode(tensor, "spot")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_requests_inputs_are_decoded_as_they_are_read():
    """The names can be listed of malformed tensors; a name that was not sent is not in the map, nor put into it."""
    request = predict_pb2.PredictRequest()
    request.inputs["good"].CopyFrom(_tensor(tf.float32, [1], float_val=[1]))
    request.inputs["bad"].CopyFrom(_tensor(tf.float32, [-1]))
    inputs = TensorMap(request.inputs)
    assert sorted(inputs) == ["bad", "good"]
    assert inputs["good"].tolist() == [1]
    with pytest.raises(ServerError, match=r"^tensor parsing error: bad$"):
        _ = inputs["bad"]
    assert "other" not in inputs
    assert len(inputs) == 2
