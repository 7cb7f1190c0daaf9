"""What converters share: a signature's flat graph, points of its domain, and the comparison with the package."""

from gradwire_export._conversion.agreement import Run, agreement
from gradwire_export._conversion.draws import Draws
from gradwire_export._conversion.flat_graph import PASSED, FlatGraph, flat_graph, independent_of_data

__all__ = ["PASSED", "Draws", "FlatGraph", "Run", "agreement", "flat_graph", "independent_of_data"]
