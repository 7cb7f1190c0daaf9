"""The light client of Gradwire: a remote function together with its derivatives.

log = gradwire.connect("localhost:8500", "log")  # or gradwire.load("models/log")
f, df_dx = log.value_and_grad(x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gradwire._connect import connect, load
from gradwire._errors import (
    CheckFailed,
    ConversionError,
    DataError,
    DeadlineExceeded,
    DTypeError,
    ExtrapolationError,
    ExtrapolationWarning,
    GradwireError,
    InputError,
    InputNameError,
    MissingExtra,
    ModelNotFound,
    PackageError,
    ServerError,
    ServerUnreachable,
    ShapeError,
    SignatureNotFound,
    UsageError,
)
from gradwire._model import Model, Options, Solution
from gradwire._package import Alias, Card, CardTensor, Domain, Signature, Solve, TensorSpec
from gradwire._transports import (
    FakeTransport,
    GrpcTransport,
    InProcessTransport,
    NativeTransport,
    OnnxTransport,
    Transport,
)
from gradwire._wire import TLS, Address, Call, Prediction, VersionStatus

if TYPE_CHECKING:
    from gradwire._evaluate import ErrorRatio, Errors, Evaluation, TensorErrors, evaluate
    from gradwire._verify import (
        CardDifference,
        Check,
        DerivativeCheck,
        Difference,
        Finding,
        TensorDifference,
        Verification,
        diff,
        verify,
    )

__all__ = [
    "TLS",
    "Address",
    "Alias",
    "Call",
    "Card",
    "CardDifference",
    "CardTensor",
    "Check",
    "CheckFailed",
    "ConversionError",
    "DTypeError",
    "DataError",
    "DeadlineExceeded",
    "DerivativeCheck",
    "Difference",
    "Domain",
    "ErrorRatio",
    "Errors",
    "Evaluation",
    "ExtrapolationError",
    "ExtrapolationWarning",
    "FakeTransport",
    "Finding",
    "GradwireError",
    "GrpcTransport",
    "InProcessTransport",
    "InputError",
    "InputNameError",
    "MissingExtra",
    "Model",
    "ModelNotFound",
    "NativeTransport",
    "OnnxTransport",
    "Options",
    "PackageError",
    "Prediction",
    "ServerError",
    "ServerUnreachable",
    "ShapeError",
    "Signature",
    "SignatureNotFound",
    "Solution",
    "Solve",
    "TensorDifference",
    "TensorErrors",
    "TensorSpec",
    "Transport",
    "UsageError",
    "Verification",
    "VersionStatus",
    "__version__",
    "connect",
    "diff",
    "evaluate",
    "load",
    "verify",
]

__version__: str

# Loaded on first access: callers of a model seldom check it, and the checks are a quarter of the import.
_CHECKS: Final = {
    "_evaluate": ("ErrorRatio", "Errors", "Evaluation", "TensorErrors", "evaluate"),
    "_verify": (
        "Check",
        "TensorDifference",
        "DerivativeCheck",
        "Difference",
        "Finding",
        "CardDifference",
        "Verification",
        "diff",
        "verify",
    ),
}


def __getattr__(name: str) -> Any:
    """Load on first access the checks, and the version, which takes as long as this package."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gradwire")
    for module, names in _CHECKS.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"gradwire.{module}"), name)
    raise AttributeError(f"module 'gradwire' has no attribute {name!r}")
