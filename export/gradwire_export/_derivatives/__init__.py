"""Derivatives of a batched function, row by row."""

from gradwire_export._derivatives.products import row_jvp, row_jvp_by_contraction, row_vjp
from gradwire_export._derivatives.repeated_rows import (
    Call,
    Gradients,
    Tensors,
    differentiated,
    row_derivatives,
)
from gradwire_export._derivatives.second_derivatives import row_hessian, row_hvp
from gradwire_export._derivatives.separate_sweeps import swept_derivatives, swept_hessian, swept_hvp

__all__ = [
    "Call",
    "Gradients",
    "Tensors",
    "differentiated",
    "row_derivatives",
    "row_hessian",
    "row_hvp",
    "row_jvp",
    "row_jvp_by_contraction",
    "row_vjp",
    "swept_derivatives",
    "swept_hessian",
    "swept_hvp",
]
