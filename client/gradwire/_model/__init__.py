"""From a caller's arrays to a request and back."""

from gradwire._model.cache import Memo
from gradwire._model.cast import DEFAULT_CASTING, Casting, cast
from gradwire._model.extrapolation import Extrapolation
from gradwire._model.info import CARD_ROWS, Package, read_card
from gradwire._model.methods import Calculus, Method
from gradwire._model.model import Model, model_of
from gradwire._model.options import DEFAULT_TIMEOUT, Options
from gradwire._model.points import Points, bind, check_names, read_points
from gradwire._model.request import Plan
from gradwire._model.results import default_signature, result_names

__all__ = [
    "CARD_ROWS",
    "DEFAULT_CASTING",
    "DEFAULT_TIMEOUT",
    "Calculus",
    "Casting",
    "Extrapolation",
    "Memo",
    "Method",
    "Model",
    "Options",
    "Package",
    "Plan",
    "Points",
    "bind",
    "cast",
    "check_names",
    "default_signature",
    "model_of",
    "read_card",
    "read_points",
    "result_names",
]
