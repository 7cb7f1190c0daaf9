"""A fit: from samples to a result, its record, and its repetition."""

from gradwire_training._fit.evaluation import POINTS, Comparison, TensorComparison, Unmeasured, evaluate
from gradwire_training._fit.fit import DTYPE, fit
from gradwire_training._fit.record import require_target
from gradwire_training._fit.repeat import repeat
from gradwire_training._fit.request import Request
from gradwire_training._fit.result import Result, record_of
from gradwire_training._fit.second_stage import refine
from gradwire_training._fit.start import Start, load

__all__ = [
    "DTYPE",
    "POINTS",
    "Comparison",
    "Request",
    "Result",
    "Start",
    "TensorComparison",
    "Unmeasured",
    "evaluate",
    "fit",
    "load",
    "record_of",
    "refine",
    "repeat",
    "require_target",
]
