"""Whether a function can be differentiated, by its graph."""

from gradwire_export._analysis.requirements import DerivativeWarning, require_derivatives

__all__ = ["DerivativeWarning", "require_derivatives"]
