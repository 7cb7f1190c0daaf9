"""A fit: from samples to a result, its record, and its repetition."""

from gradwire_training._fit.errors import POINTS, evaluate_what_there_is, yardstick
from gradwire_training._fit.fit import DTYPE, fit
from gradwire_training._fit.record import record, require_target
from gradwire_training._fit.repeat import repeat
from gradwire_training._fit.result import Request, Result

__all__ = [
    "DTYPE",
    "POINTS",
    "Request",
    "Result",
    "evaluate_what_there_is",
    "fit",
    "record",
    "repeat",
    "require_target",
    "yardstick",
]
