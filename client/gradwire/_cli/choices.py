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
    SOBOL = "sobol"
    CHEBYSHEV = "chebyshev"


class OptimizerName(StrEnum):
    """What makes the loss small."""

    AUTO = "auto"
    LM = "lm"
    LBFGS = "lbfgs"
    ADAM = "adam"
    SGD = "sgd"


class Activation(StrEnum):
    """Of the hidden layers: smooth ones, for a derivative has to have one."""

    SIGMOID = "sigmoid"
    TANH = "tanh"
    SOFTPLUS = "softplus"
    SWISH = "swish"
    GELU = "gelu"


class Measure(StrEnum):
    """Which error a study shows."""

    MAX = "max"
    RMSE = "rmse"


class DType(StrEnum):
    """Of a package."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


class Compiler(StrEnum):
    """What compiles a package's signatures."""

    XLA = "xla"


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"


class Compute(StrEnum):
    """What a query asks for."""

    VALUE = "value"
    GRAD = "grad"
    JVP = "jvp"
    VJP = "vjp"
    HVP = "hvp"
    HESSIAN = "hessian"


class Engine(StrEnum):
    """What serves."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    TENSORFLOW_MODEL_SERVER = "tensorflow_model_server"
    DOCKER = "docker"


class Report(StrEnum):
    """How what was found is printed."""

    TABLE = "table"
    JSON = "json"
