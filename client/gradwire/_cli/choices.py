"""The words that options accept, listed here so that help and refusals need no heavy package.

Training and serving register theirs (optimisers, losses, engines, …) again; a test holds the two lists together.
"""

from __future__ import annotations

from enum import StrEnum


class Loss(StrEnum):
    """What is fitted."""

    SOBOLEV = "sobolev"
    VALUE = "value"
    DERIVATIVE = "derivative"


class Spacing(StrEnum):
    """How samples are spread over the domain."""

    LINEAR = "linear"
    LOG = "log"
    RANDOM = "random"
    SOBOL = "sobol"
    CHEBYSHEV = "chebyshev"


class OptimizerName(StrEnum):
    """Optimisers of a fit."""

    AUTO = "auto"
    LM = "lm"
    BAYES = "bayes"
    LBFGS = "lbfgs"
    ADAM = "adam"
    SGD = "sgd"


class Activation(StrEnum):
    """Activations of the hidden layers: smooth ones, so that the derivative is differentiable too."""

    SIGMOID = "sigmoid"
    TANH = "tanh"
    SOFTPLUS = "softplus"
    SWISH = "swish"
    GELU = "gelu"


class Measure(StrEnum):
    """Error measures of a study."""

    MAX = "max"
    RMSE = "rmse"


class DType(StrEnum):
    """Dtypes of a package."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


class Compiler(StrEnum):
    """Compilers of a package's signatures."""

    XLA = "xla"


class Format(StrEnum):
    """Output formats of a table of points."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"


class Report(StrEnum):
    """Output formats of a report."""

    TABLE = "table"
    JSON = "json"


class Engine(StrEnum):
    """Servers that `gradwire serve` can start."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    TENSORFLOW_MODEL_SERVER = "tensorflow_model_server"
    DOCKER = "docker"


class BatchEngine(StrEnum):
    """What runs the units of `gradwire batch`."""

    LOCAL = "local"
    RAY = "ray"


class OnError(StrEnum):
    """What `gradwire batch` does about rows that cannot be read."""

    FAIL = "fail"
    NULL = "null"
    SKIP = "skip"


class PackageEngine(StrEnum):
    """What runs a package in this process."""

    TENSORFLOW = "tensorflow"
    NATIVE = "native"
    AUTO = "auto"
