"""Words that options take; typer lists them, and refuses others."""

from __future__ import annotations

from enum import StrEnum


class Loss(StrEnum):
    """What is fitted."""

    SOBOLEV = "sobolev"
    VALUE = "value"
    DERIVATIVE = "derivative"


class Spacing(StrEnum):
    """How samples lie in the domain."""

    LINEAR = "linear"
    LOG = "log"
    RANDOM = "random"


class OptimizerName(StrEnum):
    """What makes the loss small."""

    AUTO = "auto"
    ADAM = "adam"
    LBFGS = "lbfgs"
    SGD = "sgd"


class DType(StrEnum):
    """Of a package."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Engine(StrEnum):
    """What serves."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    TENSORFLOW_MODEL_SERVER = "tensorflow_model_server"
    DOCKER = "docker"
