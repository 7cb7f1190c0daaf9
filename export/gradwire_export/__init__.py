"""Packages a learnt function with its derivatives, so that stock TensorFlow Serving serves both."""

from gradwire._package import digest
from gradwire_export._analysis import DerivativeWarning
from gradwire_export._convert import Converted, convert
from gradwire_export._derivatives import row_derivatives
from gradwire_export._export import Exported, export
from gradwire_export._gate import Gate, GatedTensor, GateRefused, Verdict
from gradwire_export._gradients import needs_graph, right_gradients
from gradwire_export._package import read_network
from gradwire_export._sources import MODEL_FILE, RECORD_FILE, RECORD_FORMAT, UNCERTAINTY_FILE, from_jax

__all__ = [
    "MODEL_FILE",
    "RECORD_FILE",
    "RECORD_FORMAT",
    "UNCERTAINTY_FILE",
    "Converted",
    "DerivativeWarning",
    "Exported",
    "Gate",
    "GateRefused",
    "GatedTensor",
    "Verdict",
    "convert",
    "digest",
    "export",
    "from_jax",
    "needs_graph",
    "read_network",
    "right_gradients",
    "row_derivatives",
]
