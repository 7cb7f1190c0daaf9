"""Derivatives of a batched function, row by row."""

from gradwire_export._derivatives.products import row_jvp, row_jvp_by_contraction, row_vjp
from gradwire_export._derivatives.repeated_rows import RepeatedRows, row_derivatives
from gradwire_export._derivatives.separate_sweeps import SeparateSweeps
from gradwire_export._derivatives.strategy import (
    Differentiable,
    Gradients,
    Strategy,
    TensorFunction,
    Tensors,
    row_count,
    sweep_back,
)

__all__ = [
    "Differentiable",
    "Gradients",
    "RepeatedRows",
    "SeparateSweeps",
    "Strategy",
    "TensorFunction",
    "Tensors",
    "row_count",
    "row_derivatives",
    "row_jvp",
    "row_jvp_by_contraction",
    "row_vjp",
    "sweep_back",
]
