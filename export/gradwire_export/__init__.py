"""Packages a learnt function with its derivatives, so that stock TensorFlow Serving serves both."""

from gradwire_export._digest import digest
from gradwire_export._export import Exported, export
from gradwire_export._jax import from_jax
from gradwire_export._requirements import DerivativeWarning
from gradwire_export._row_derivatives import row_derivatives
from gradwire_export._source import MODEL_FILE, RECORD_FILE, RECORD_FORMAT

__all__ = [
    "MODEL_FILE",
    "RECORD_FILE",
    "RECORD_FORMAT",
    "DerivativeWarning",
    "Exported",
    "digest",
    "export",
    "from_jax",
    "row_derivatives",
]
