"""TensorFlow Serving's messages, to and from the core: tensors, states, and the warm-up requests in a package."""

from gradwire_serving._wire.model_status import model_status
from gradwire_serving._wire.protobuf import Part, field
from gradwire_serving._wire.tensors import TensorMap, encode
from gradwire_serving._wire.warmup import warm_up

__all__ = ["Part", "TensorMap", "encode", "field", "model_status", "warm_up"]
