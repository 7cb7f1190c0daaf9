"""Keras models: networks, scaling layers, named inputs and outputs, precision."""

from gradwire_training._models.io_binding import BoundTensor, IoBinding, ordered_tensors
from gradwire_training._models.mlp import mlp
from gradwire_training._models.precision import DTYPES, array_of, with_dtype
from gradwire_training._models.scaling import Units, input_scales, output_scales, units_of

__all__ = [
    "DTYPES",
    "BoundTensor",
    "IoBinding",
    "Units",
    "array_of",
    "input_scales",
    "mlp",
    "ordered_tensors",
    "output_scales",
    "units_of",
    "with_dtype",
]
