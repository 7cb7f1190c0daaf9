"""Whether a function can be differentiated, and what its Jacobian looks like, by its graph."""

from gradwire_export._analysis.requirements import (
    DerivativeWarning,
    Support,
    has_second_products,
    require_derivatives,
)
from gradwire_export._analysis.structure import jacobian_structure

__all__ = ["DerivativeWarning", "Support", "has_second_products", "jacobian_structure", "require_derivatives"]
