"""From a caller's arrays to a request and back."""

from gradwire._model.cache import ResponseCache
from gradwire._model.cast import DEFAULT_CASTING, Casting, cast, check_dtype
from gradwire._model.extrapolation import Extrapolation, outside_of, trusted
from gradwire._model.info import PackageInfo, card_call, in_order, read_card, times
from gradwire._model.methods import Method, RequestBuilder
from gradwire._model.model import Model, model_of, package_of
from gradwire._model.options import DEFAULT_TIMEOUT, Options
from gradwire._model.points import Points, bind, read_points, require_names
from gradwire._model.request import PreparedRequest
from gradwire._model.selection import Names
from gradwire._model.solution import Solution, only_solve, solving_signature
from gradwire._model.trust import TRUSTED, Trust

__all__ = [
    "DEFAULT_CASTING",
    "DEFAULT_TIMEOUT",
    "TRUSTED",
    "Casting",
    "Extrapolation",
    "Method",
    "Model",
    "Names",
    "Options",
    "PackageInfo",
    "Points",
    "PreparedRequest",
    "RequestBuilder",
    "ResponseCache",
    "Solution",
    "Trust",
    "bind",
    "card_call",
    "cast",
    "check_dtype",
    "in_order",
    "model_of",
    "only_solve",
    "outside_of",
    "package_of",
    "read_card",
    "read_points",
    "require_names",
    "solving_signature",
    "times",
    "trusted",
]
