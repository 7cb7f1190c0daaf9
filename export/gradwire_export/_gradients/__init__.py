"""Gradients of TensorFlow's operations that are right where its own are wrong."""

from gradwire_export._gradients.graphs import operations_of
from gradwire_export._gradients.remarks import remark_on
from gradwire_export._gradients.table import REPLACEMENTS, right_gradients
from gradwire_export._gradients.visible import needs_graph, with_visible_graph

__all__ = ["REPLACEMENTS", "needs_graph", "operations_of", "remark_on", "right_gradients", "with_visible_graph"]
