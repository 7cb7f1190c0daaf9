"""What can be exported: functions, Keras models, SavedModels, JAX."""

from gradwire_export._sources.function import Function, Pair, function_of, has_specs, row_shape
from gradwire_export._sources.jax import JaxFunction, from_jax
from gradwire_export._sources.keras_model import has_symbolic_inputs
from gradwire_export._sources.source import (
    MODEL_FILE,
    RECORD_FILE,
    RECORD_FORMAT,
    UNCERTAINTY_FILE,
    ErrorBars,
    Source,
    read_source,
)

__all__ = [
    "MODEL_FILE",
    "RECORD_FILE",
    "RECORD_FORMAT",
    "UNCERTAINTY_FILE",
    "ErrorBars",
    "Function",
    "JaxFunction",
    "Pair",
    "Source",
    "from_jax",
    "function_of",
    "has_specs",
    "has_symbolic_inputs",
    "read_source",
    "row_shape",
]
