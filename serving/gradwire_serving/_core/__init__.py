"""The server's core: sources, versions, servables and the handler of calls. It knows no wire, neither gRPC nor REST."""

from gradwire_serving._core.concurrency_limit import ConcurrencyLimit
from gradwire_serving._core.examples import CLASSIFY, REGRESS, ExampleMethod
from gradwire_serving._core.handler import ModelRef, Resolver, predict
from gradwire_serving._core.manager import SIGNAL_INTERVAL, Manager, State, Version
from gradwire_serving._core.servable import Servable, load_version
from gradwire_serving._core.source import ModelConfig, Source, VersionPolicy
from gradwire_serving._core.status import Code, Status, StatusError, invalid_argument, status_of

__all__ = [
    "CLASSIFY",
    "REGRESS",
    "SIGNAL_INTERVAL",
    "Code",
    "ConcurrencyLimit",
    "ExampleMethod",
    "Manager",
    "ModelConfig",
    "ModelRef",
    "Resolver",
    "Servable",
    "Source",
    "State",
    "Status",
    "StatusError",
    "Version",
    "VersionPolicy",
    "invalid_argument",
    "load_version",
    "predict",
    "status_of",
]
