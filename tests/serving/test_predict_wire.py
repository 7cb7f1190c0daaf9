"""PredictRequest by its bytes and by protobuf's objects: the same, however it is written; and PredictResponse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from gradwire_serving._core import Allowance, StatusError
from gradwire_serving._wire import predict
from gradwire_serving._wire.tensors import decode


def _request(*arrays: np.ndarray, **fields: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(**fields)
    request.model_spec.name = "log"
    for number, array in enumerate(arrays):
        tensor = request.inputs[f"x{number}"]
        tensor.CopyFrom(tf.make_tensor_proto(array))
        tensor.ClearField("float_val")
        tensor.tensor_content = array.tobytes()
    return request


SEEDS = [
    _request(np.ones((1, 1), np.float32)),
    _request(np.arange(6.0).reshape(3, 2), np.array([[1], [2], [3]], np.int32), output_filter=["f", "df_dx"]),
    _request(np.array(7.0), np.ones((2, 0)), np.ones((2, 2), np.bool_)),
    _request(np.ones(130, np.float16)),
]


def _outcome(read: Any, data: bytes) -> Any:
    """What a reader makes of a request: the error, or names, arrays and filter."""
    try:
        call = read(data)
    except DecodeError:
        return "unparsable"
    if call is None:
        return None
    arrays = {}
    for alias in call.inputs:
        try:
            array = call.inputs[alias]
            arrays[alias] = array.dtype.str, array.shape, array.tobytes()
        except StatusError as error:
            arrays[alias] = str(error)
    spec = None if call.spec is None else call.spec.SerializeToString(deterministic=True)
    return spec, arrays, list(call.output_filter)


def _any(data: bytes) -> predict.PredictCall:
    return predict._read_any(data, Allowance())


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_a_request_is_read_by_its_bytes(seed: predict_pb2.PredictRequest):
    """What clients write needs no protobuf object, but where a tensor has no elements."""
    data = seed.SerializeToString()
    plain = _outcome(predict._read_plain, data)
    assert plain == (None if any(not t.tensor_content for t in seed.inputs.values()) else _outcome(_any, data))


@pytest.mark.parametrize("name", ["x" * length for length in range(1, 9)], ids=len)
def test_large_content_is_copied_once(name: str):
    """Wherever it begins in the message, TensorFlow reads it as it is, or copies it itself: never both."""
    array = np.random.default_rng(0).normal(size=(10_000, 1))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "log"
    request.inputs[name].CopyFrom(_request(array).inputs["x0"])
    data = request.SerializeToString()
    call = predict._read_plain(data)
    assert call is not None
    read = call.inputs[name]
    np.testing.assert_array_equal(read, array)
    begins = read.__array_interface__["data"][0]
    shared = np.shares_memory(read, np.frombuffer(data, np.uint8))
    assert (begins % 8, shared) == (0, True) or (begins % predict.PLACE, shared) == (0, False)


def test_damaged_requests_are_read_alike():
    """Of 20,000 requests with bytes changed, cut, repeated or joined, no reader takes one otherwise than the other."""
    random = np.random.default_rng(0)
    seeds = [seed.SerializeToString() for seed in SEEDS]
    taken = 0
    for _ in range(20_000):
        data = bytearray(seeds[random.integers(len(seeds))])
        for _ in range(random.integers(3)):
            at = int(random.integers(len(data) + 1))
            match random.integers(4):
                case 0:
                    data[at : at + 1] = bytes([random.integers(256)])
                case 1:
                    del data[at : at + int(random.integers(4))]
                case 2:
                    data[at:at] = data[at : at + int(random.integers(16))]
                case _:
                    data += seeds[random.integers(len(seeds))]
        plain = _outcome(predict._read_plain, bytes(data))
        if plain is not None:
            taken += 1
            assert plain == _outcome(_any, bytes(data)), bytes(data)
    assert taken > 2000


@pytest.mark.parametrize("as_content", [False, True])
def test_a_response_is_read_back(as_content: bool):
    """Every kind of dtype, empty arrays and scalars, by TensorFlow's own reader."""
    arrays = {
        "f": np.arange(6.0, dtype=np.float32).reshape(3, 2)[:, ::-1],
        "i": np.array([[-1, 2]], np.int64),
        "z": np.array(1 + 2j),
        "e": np.ones((0, 3)),
        "h": np.ones(3, np.float16),
        "s": np.array([b"a", b""], object),
    }
    data = predict.response(arrays, "log", 7, "value", as_content=as_content)
    read = predict_pb2.PredictResponse.FromString(data)
    assert (read.model_spec.name, read.model_spec.version.value, read.model_spec.signature_name) == ("log", 7, "value")
    for name, array in arrays.items():
        own = name == "s" and as_content  # which TensorFlow's reader of protos does not know
        got = decode(read.outputs[name], name) if own else tf.make_ndarray(read.outputs[name])
        assert (got.shape, got.tolist()) == (array.shape, array.tolist())
        assert bool(read.outputs[name].tensor_content) == (as_content and array.size > 0)
