"""TensorProto and protobuf's wire form."""

from gradwire_serving._wire.protobuf import Part, field
from gradwire_serving._wire.tensors import decode, encode

__all__ = ["Part", "decode", "encode", "field"]
