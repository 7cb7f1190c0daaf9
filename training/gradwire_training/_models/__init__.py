"""Keras models: networks, scaling layers, named inputs and outputs, precision."""

from gradwire_training._models.atoms import atoms, is_of_atoms
from gradwire_training._models.features import (
    RANDOM_STATE,
    Feature,
    Features,
    features_of,
    is_non_negative,
    require_no_own_training,
)
from gradwire_training._models.io_binding import BoundTensor, IoBinding, ordered_tensors
from gradwire_training._models.mlp import mlp
from gradwire_training._models.precision import DTYPES, array_of, replaced_policies, with_dtype
from gradwire_training._models.reduction import Components, Reduction, components_of, reduction_of
from gradwire_training._models.resolution import rounding_notes
from gradwire_training._models.scaling import Units, input_scales, output_scales, units_of
from gradwire_training._models.statistics import BatchStatistics

__all__ = [
    "DTYPES",
    "RANDOM_STATE",
    "BatchStatistics",
    "BoundTensor",
    "Components",
    "Feature",
    "Features",
    "IoBinding",
    "Reduction",
    "Units",
    "array_of",
    "atoms",
    "components_of",
    "features_of",
    "input_scales",
    "is_non_negative",
    "is_of_atoms",
    "mlp",
    "ordered_tensors",
    "output_scales",
    "reduction_of",
    "replaced_policies",
    "require_no_own_training",
    "rounding_notes",
    "units_of",
    "with_dtype",
]
