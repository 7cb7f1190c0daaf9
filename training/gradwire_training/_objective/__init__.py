"""Losses, and the objective that an optimiser minimises."""

from gradwire_training._objective import losses
from gradwire_training._objective.batches import Batches
from gradwire_training._objective.compiled import Compiled
from gradwire_training._objective.losses import Derivative, Loss, Sobolev, Value
from gradwire_training._objective.objective import Objective, Weights
from gradwire_training._objective.rows import FittedRows
from gradwire_training._objective.signs import bounds_of, pairs_of, sign_points
from gradwire_training._objective.terms import ComponentTerm, Layout, Term

__all__ = [
    "Batches",
    "Compiled",
    "ComponentTerm",
    "Derivative",
    "FittedRows",
    "Layout",
    "Loss",
    "Objective",
    "Sobolev",
    "Term",
    "Value",
    "Weights",
    "bounds_of",
    "losses",
    "pairs_of",
    "sign_points",
]
