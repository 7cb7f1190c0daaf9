"""Requests that are joined and responses that are not parsed twice: what protobuf itself would write and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import Address, Call, Signature, TensorSpec
from gradwire._package.dtypes import BY_NAME
from gradwire._wire import PredictCodec, proto
from gradwire._wire.layout import find_layout
from gradwire._wire.messages import predict_request, read_prediction
from gradwire._wire.tensor import encode

ADDRESS = Address("a:1", "name", version=3)
RNG = np.random.default_rng(0)


def signature(dtype: str, *row: int | None) -> Signature:
    """Inputs x and t, outputs f and g."""
    specs = {name: TensorSpec(name, dtype, (None, *row)) for name in ("x", "t", "f", "g")}
    return Signature("go", {n: specs[n] for n in ("x", "t")}, {n: specs[n] for n in ("f", "g")})


ARRAYS: dict[str, tuple[str, np.ndarray]] = {
    "float64": ("float64", RNG.normal(size=(4, 2))),
    "float32": ("float32", RNG.normal(size=(4, 2)).astype(np.float32)),
    "big endian": ("float64", RNG.normal(size=(4, 2)).astype(">f8")),
    "transposed": ("float64", RNG.normal(size=(2, 4)).T),
    "strided": ("float32", RNG.normal(size=(8, 2)).astype(np.float32)[::2]),
    "integers": ("int32", np.arange(8, dtype=np.int32).reshape(4, 2)),
    "booleans": ("bool", np.array([[True, False]] * 4)),
    "bfloat16": ("bfloat16", RNG.normal(size=(4, 2)).astype(np.float32)),
    "strings": ("string", np.array([[b"a", b"bc"]] * 4, dtype=object)),
    "one for all": ("float64", np.broadcast_to(np.float64(1.5), (4, 2))),
    "one row for all": ("float64", np.broadcast_to(RNG.normal(size=2), (4, 2))),
    "one integer for all": ("int64", np.broadcast_to(np.int64(-2), (4, 2))),
    "many rows": ("float64", RNG.normal(size=(300, 2))),
}


@pytest.mark.parametrize("rows", [None, slice(1, 3)], ids=["all", "chunk"])
@pytest.mark.parametrize("form", ARRAYS)
def test_a_joined_request_is_protobufs(form: str, rows: slice | None):
    """Written twice, the second time from ready bytes, a request is the message that protobuf writes."""
    dtype, array = ARRAYS[form]
    codec = PredictCodec(ADDRESS)
    for outputs in (None, ("f",)):
        for values in (array, array[::-1]):
            call = Call(signature(dtype, 2), {"x": values, "t": array}, outputs)
            expected = predict_request(ADDRESS, call, rows, version=4)
            found = codec.request(call, rows, version=4)
            assert proto.PredictRequest.FromString(found) == proto.PredictRequest.FromString(expected)


def test_requests_of_other_forms_are_other_requests():
    """Outputs, version, shape and names each change the message, whatever was written before."""
    codec = PredictCodec(Address("a:1", "name"))
    x = np.ones((2, 1))
    calls = [
        (Call(signature("float64", 1), {"x": x, "t": x}), None),
        (Call(signature("float64", 1), {"x": x, "t": x}, ["f"]), None),
        (Call(signature("float64", 1), {"x": x, "t": x}, ["g"]), None),
        (Call(signature("float64", 1), {"x": x, "t": x}), 7),
        (Call(signature("float64", 1), {"x": np.ones((3, 1)), "t": np.ones((3, 1))}), None),
        (Call(signature("float64", 1), {"t": x, "x": x + 1}), None),
    ]
    for call, version in calls * 2:
        expected = proto.PredictRequest.FromString(predict_request(codec.address, call, None, version))
        assert proto.PredictRequest.FromString(codec.request(call, None, version)) == expected


def response(dtype: str, write: Callable[[Any, np.ndarray], None], version: int = 5, **arrays: np.ndarray) -> bytes:
    """A response of these arrays."""
    message = proto.PredictResponse()
    message.model_spec.name, message.model_spec.version.value = "name", version
    for name, array in arrays.items():
        tensor = message.outputs[name]
        tensor.dtype = BY_NAME[dtype].number
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        write(tensor, array)
    return message.SerializeToString()


def content(tensor: Any, array: np.ndarray) -> None:
    """In one piece of raw bytes."""
    tensor.tensor_content = array.tobytes()


def typed(tensor: Any, array: np.ndarray) -> None:
    """As the stock server writes."""
    getattr(tensor, BY_NAME[array.dtype.name].field).append(array.tobytes())


def in_two(tensor: Any, array: np.ndarray) -> None:
    """In two pieces, which is legal."""
    typed(tensor, array[:1])
    typed(tensor, array[1:])


def short(tensor: Any, array: np.ndarray) -> None:
    """One value, which stands for all."""
    typed(tensor, array[:1, :1])


def outcome(read: Callable[[], Any]) -> Any:
    """What reading gives, to be compared: arrays as bytes, or the class of the error."""
    try:
        prediction = read()
    except gradwire.GradwireError as error:
        return type(error)
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in prediction.items()}
    return prediction.version, list(prediction), arrays


@pytest.mark.parametrize(
    ("write", "is_plain"),
    [(content, True), (typed, True), (in_two, False), (short, False)],
    ids=["content", "typed", "in two", "short"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_a_response_is_read_as_protobuf_reads_it(write: Callable[..., None], is_plain: bool, dtype: str):
    """Plain responses are read in place, once and again with other values, and others go through protobuf."""
    codec, outputs = PredictCodec(ADDRESS), None
    call = Call(signature(dtype, 2), {"x": np.ones((3, 2)), "t": np.ones((3, 2))}, outputs)
    for _ in range(3):
        data = response(dtype, write, f=RNG.normal(size=(3, 2)).astype(dtype), g=RNG.normal(size=(3, 2)).astype(dtype))
        assert (find_layout(data, call, 3) is not None) == is_plain
        assert outcome(lambda data=data: codec.read(data, call, 3)) == outcome(
            lambda data=data: read_prediction(data, call, 3)
        )


@pytest.mark.parametrize("write", [content, typed])
def test_every_byte_counts(write: Callable[..., None]):
    """With any one byte changed, or cut there, a response is read, or refused, as protobuf reads or refuses it."""
    call = Call(signature("float64", 1), {"x": np.ones((2, 1)), "t": np.ones((2, 1))}, ("f", "g"))
    data = response("float64", write, f=RNG.normal(size=(2, 1)), g=RNG.normal(size=(2, 1)))
    codec = PredictCodec(ADDRESS)
    assert outcome(lambda: codec.read(data, call, 2)) == outcome(lambda: read_prediction(data, call, 2))
    for at in range(len(data)):
        for changed in (data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :] for bit in (1, 2, 8, 16, 128)):
            assert outcome(lambda text=changed: codec.read(text, call, 2)) == outcome(
                lambda text=changed: read_prediction(text, call, 2)
            ), (at, changed)
            codec.read(data, call, 2)
        cut = data[:at]
        assert outcome(lambda text=cut: codec.read(text, call, 2)) == outcome(
            lambda text=cut: read_prediction(text, call, 2)
        )


def test_a_new_version_and_another_signature_are_told_apart():
    """The same form with another version, or read for another signature, is not taken for the one before."""
    codec = PredictCodec(ADDRESS)
    x = np.ones((2, 1))
    call = Call(signature("float64", 1), {"x": x, "t": x})
    for version in (5, 6, 5):
        assert codec.read(response("float64", typed, version, f=x, g=x), call, 2).version == version
    wider = Call(signature("float64", 2), {"x": np.ones((2, 2)), "t": np.ones((2, 2))})
    with pytest.raises(gradwire.ServerError, match=r"has the shape \(2, 1\)"):
        codec.read(response("float64", typed, 5, f=x, g=x), wider, 2)


def test_a_constant_is_one_value():
    """What is the same for all travels as one value in the typed field, whose rest the server fills."""
    message = proto.Tensor()
    encode(np.broadcast_to(np.float64(2.5), (1000, 1)), "float64", message)
    assert (len(message.double_val[0]), message.tensor_content) == (8, b"")
