"""What a call may allocate, alone and beside others."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from gradwire._errors import ServerError
from gradwire_serving._core import Allowance, Memory
from gradwire_serving._core.memory import available_memory, installed_memory
from gradwire_serving._wire.tensors import decode

MIB = 2**20


def _ones(dtype: tf.DType, rows: int) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, float_val=[1], half_val=[16256])
    for size in (rows, 1):
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("dtype", "rows"), [(tf.bfloat16, 2_000_000_000), (tf.float32, 2**26), (tf.string, 2**21)], ids=str
)
def test_thirty_bytes_do_not_become_gigabytes(dtype: tf.DType, rows: int):
    """What a request declares beyond what it sends has a limit, which the error names."""
    began = time.monotonic()
    with pytest.raises(
        ServerError, match=r"^input x declares \d+ bytes more .*67108864 \(--max_expanded_bytes\)"
    ) as caught:
        decode(_ones(dtype, rows), "x")
    assert caught.value.code == "INVALID_ARGUMENT"
    assert time.monotonic() - began < 10  # it took 11 s, and the memory


def test_the_limit_is_of_a_request_and_can_be_moved():
    """Two inputs share it; what was sent does not count."""
    memory = Memory(max_expanded_bytes=8 * MIB)
    with Allowance(memory) as allowance:
        assert decode(_ones(tf.float32, MIB), "x", allowance)[-1] == 1
        with pytest.raises(ServerError, match="--max_expanded_bytes"):
            decode(_ones(tf.float32, 2 * MIB), "y", allowance)
        sent = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, tensor_content=bytes(16 * MIB))
        sent.tensor_shape.dim.add(size=4 * MIB)
        assert decode(sent, "z", allowance).nbytes == 16 * MIB


def test_calls_share_what_is_free():
    """A call that finds no room beside another is RESOURCE_EXHAUSTED, and gets room when the other has ended."""
    memory = Memory(max_expanded_bytes=100 * MIB, available=lambda: 100 * MIB)
    with Allowance(memory) as one, Allowance(memory) as other:
        one.expand(60 * MIB, "x")
        with pytest.raises(ServerError, match="not enough memory") as caught:
            other.expand(60 * MIB, "x")
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        one.close()
        other.expand(60 * MIB, "x")


def test_a_control_groups_memory_is_the_limit(tmp_path: Path):
    """In a container the free memory is the container's, under either version of cgroups; "max" is no limit."""
    free = available_memory(tmp_path)
    assert MIB < free <= installed_memory()
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) > MIB
    (tmp_path / "memory.max").write_text("1052672\n")
    assert available_memory(tmp_path) == MIB
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2048\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("1024\n")
    assert available_memory(tmp_path) == 1024


def test_decoding_stops_at_the_deadline():
    """A million strings are not split for a caller that has gone."""
    tensor = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, tensor_content=bytes(MIB // 2))
    tensor.tensor_shape.dim.add(size=MIB // 2)
    assert len(decode(tensor, "s")) == MIB // 2
    with pytest.raises(ServerError, match="Deadline Exceeded"):
        decode(tensor, "s", Allowance(deadline=time.monotonic()))
