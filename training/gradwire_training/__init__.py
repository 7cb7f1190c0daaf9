"""Training: fit Keras models to values and derivatives."""

from gradwire_training import networks, optimizers, problems
from gradwire_training._data import Samples, Stream, hold_out, split_pins, with_noise
from gradwire_training._fit import Result, Start, fit, load, refine, repeat, require_target
from gradwire_training._models import mlp, with_dtype
from gradwire_training._objective import Derivative, Loss, Sobolev, Value, losses
from gradwire_training._progress import Progress
from gradwire_training._report import Report, Study, Summary, draw, report, study, summarize

__all__ = [
    "Derivative",
    "Loss",
    "Progress",
    "Report",
    "Result",
    "Samples",
    "Sobolev",
    "Start",
    "Stream",
    "Study",
    "Summary",
    "Value",
    "draw",
    "fit",
    "hold_out",
    "load",
    "losses",
    "mlp",
    "networks",
    "optimizers",
    "problems",
    "refine",
    "repeat",
    "report",
    "require_target",
    "split_pins",
    "study",
    "summarize",
    "with_dtype",
    "with_noise",
]
