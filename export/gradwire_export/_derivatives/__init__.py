"""Derivatives of a batched function, row by row."""

from gradwire_export._derivatives.function import (
    Differentiable,
    Gradients,
    TensorFunction,
    Tensors,
    row_count,
    sweep_back,
)
from gradwire_export._derivatives.plan import PRODUCT, Blocks, Plan, Structure
from gradwire_export._derivatives.products import row_jvp, row_jvp_by_contraction, row_vjp
from gradwire_export._derivatives.repeated_rows import RepeatedRows, row_derivatives
from gradwire_export._derivatives.separate_sweeps import SeparateSweeps
from gradwire_export._derivatives.strategy import Strategy

__all__ = [
    "PRODUCT",
    "Blocks",
    "Differentiable",
    "Gradients",
    "Plan",
    "RepeatedRows",
    "SeparateSweeps",
    "Strategy",
    "Structure",
    "TensorFunction",
    "Tensors",
    "row_count",
    "row_derivatives",
    "row_jvp",
    "row_jvp_by_contraction",
    "row_vjp",
    "sweep_back",
]
