"""Training: fits Keras models to values and derivatives."""

from gradwire_training import optimizers, problems
from gradwire_training._draw import draw
from gradwire_training._fit import fit
from gradwire_training._losses import Derivative, Loss, Sobolev, Value
from gradwire_training._monitor import Progress
from gradwire_training._networks import mlp
from gradwire_training._precision import with_dtype
from gradwire_training._record import require_target
from gradwire_training._repeat import repeat
from gradwire_training._result import Result
from gradwire_training._samples import Samples

__all__ = [
    "Derivative",
    "Loss",
    "Progress",
    "Result",
    "Samples",
    "Sobolev",
    "Value",
    "draw",
    "fit",
    "mlp",
    "optimizers",
    "problems",
    "repeat",
    "require_target",
    "with_dtype",
]
