"""Losses, and the objective that an optimiser minimises."""

from gradwire_training._objective import losses
from gradwire_training._objective.batches import Batches
from gradwire_training._objective.compiled import Compiled
from gradwire_training._objective.losses import Derivative, Loss, Sobolev, Value
from gradwire_training._objective.objective import Objective, Weights
from gradwire_training._objective.terms import Rows
from gradwire_training._objective.weighting import Term

__all__ = [
    "Batches",
    "Compiled",
    "Derivative",
    "Loss",
    "Objective",
    "Rows",
    "Sobolev",
    "Term",
    "Value",
    "Weights",
    "losses",
]
