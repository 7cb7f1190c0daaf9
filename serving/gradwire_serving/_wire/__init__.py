"""TensorFlow Serving's messages, to and from the core's arrays: tensors, and the warm-up requests in a package."""

from gradwire_serving._wire.protobuf import Part, field
from gradwire_serving._wire.tensors import TensorMap, encode
from gradwire_serving._wire.warmup import warm_up

__all__ = ["Part", "TensorMap", "encode", "field", "warm_up"]
