"""The light client of Gradwire: a remote function together with its derivatives.

log = gradwire.connect("localhost:8500", "log")  # or gradwire.load("models/log")
f, df_dx = log.value_and_grad(x)
"""

from __future__ import annotations

from gradwire._address import TLS, Address
from gradwire._card import Card, CardTensor, Domain
from gradwire._connect import connect, load
from gradwire._contract import Signature, TensorSpec
from gradwire._errors import (
    CheckFailed,
    ConversionError,
    DataError,
    DeadlineExceeded,
    DTypeError,
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
from gradwire._fake import FakeTransport
from gradwire._grpc_transport import GrpcTransport
from gradwire._in_process import InProcessTransport
from gradwire._model import Model
from gradwire._transport import Transport, VersionStatus
from gradwire._verify import DerivativeCheck, Verification, verify

__all__ = [
    "TLS",
    "Address",
    "Card",
    "CardTensor",
    "CheckFailed",
    "ConversionError",
    "DTypeError",
    "DataError",
    "DeadlineExceeded",
    "DerivativeCheck",
    "Domain",
    "FakeTransport",
    "GradwireError",
    "GrpcTransport",
    "InProcessTransport",
    "InputError",
    "InputNameError",
    "MissingExtra",
    "Model",
    "ModelNotFound",
    "PackageError",
    "ServerError",
    "ServerUnreachable",
    "ShapeError",
    "Signature",
    "SignatureNotFound",
    "TensorSpec",
    "Transport",
    "UsageError",
    "Verification",
    "VersionStatus",
    "__version__",
    "connect",
    "load",
    "verify",
]

__version__: str


def __getattr__(name: str) -> str:
    """Reads the version when it is asked for: importlib.metadata takes as long to import as this package."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gradwire")
    raise AttributeError(f"module 'gradwire' has no attribute {name!r}")
