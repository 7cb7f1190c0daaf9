"""The residuals of a fit and their Jacobian with respect to the weights."""

from gradwire_training._jacobian.read_graph import read_graph
from gradwire_training._jacobian.residuals import Residuals, residuals_of

__all__ = ["Residuals", "read_graph", "residuals_of"]
