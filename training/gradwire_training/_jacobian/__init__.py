"""The residuals of a fit, the predictions of a network, and their Jacobians with respect to the weights."""

from gradwire_training._jacobian.dense_network import Graph
from gradwire_training._jacobian.predictions import Predictions, predict
from gradwire_training._jacobian.read_graph import read_graph
from gradwire_training._jacobian.residuals import Residuals, is_swept, residuals_of

__all__ = ["Graph", "Predictions", "Residuals", "is_swept", "predict", "read_graph", "residuals_of"]
