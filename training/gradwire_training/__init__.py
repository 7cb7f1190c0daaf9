"""Training: fits Keras models to values and derivatives."""

from gradwire_training import optimizers, problems
from gradwire_training._efficiency import Study
from gradwire_training._fit import fit
from gradwire_training._holdout import hold_out
from gradwire_training._losses import Derivative, Loss, Sobolev, Value
from gradwire_training._monitor import Progress
from gradwire_training._networks import mlp
from gradwire_training._noise import with_noise
from gradwire_training._pins import split_pins
from gradwire_training._precision import with_dtype
from gradwire_training._record import require_target
from gradwire_training._repeat import repeat
from gradwire_training._report import Report, report
from gradwire_training._result import Result
from gradwire_training._samples import Samples
from gradwire_training._stream import Stream
from gradwire_training._study import study
from gradwire_training._summary import Summary, summarize
from gradwire_training.pictures import draw

__all__ = [
    "Derivative",
    "Loss",
    "Progress",
    "Report",
    "Result",
    "Samples",
    "Sobolev",
    "Stream",
    "Study",
    "Summary",
    "Value",
    "draw",
    "fit",
    "hold_out",
    "mlp",
    "optimizers",
    "problems",
    "repeat",
    "report",
    "require_target",
    "split_pins",
    "study",
    "summarize",
    "with_dtype",
    "with_noise",
]
