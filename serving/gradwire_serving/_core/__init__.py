"""The server's core: sources, versions, servables and the handler of calls. It knows no wire, neither gRPC nor REST."""

from gradwire_serving._core.batching import BatchingParameters
from gradwire_serving._core.concurrency_limit import ConcurrencyLimit
from gradwire_serving._core.configuration import Configuration
from gradwire_serving._core.examples import CLASSIFY, REGRESS, ExampleMethod
from gradwire_serving._core.handler import ModelRef, Resolver, Turn, predict, start_predict
from gradwire_serving._core.log import JsonFormatter, TextFormatter, event, log
from gradwire_serving._core.manager import SIGNAL_INTERVAL, Manager, State, Version
from gradwire_serving._core.memory import DEFAULT_MAX_EXPANDED_BYTES, OUT_OF_MEMORY, Allowance, Memory
from gradwire_serving._core.servable import SAVED_MODEL_FILES, Servable, load_version
from gradwire_serving._core.source import ModelConfig, Source, VersionPolicy
from gradwire_serving._core.status import (
    INTERNAL_ERROR,
    Code,
    Status,
    StatusError,
    deadline_exceeded,
    invalid_argument,
    printable,
    status_of,
)

__all__ = [
    "CLASSIFY",
    "DEFAULT_MAX_EXPANDED_BYTES",
    "INTERNAL_ERROR",
    "OUT_OF_MEMORY",
    "REGRESS",
    "SAVED_MODEL_FILES",
    "SIGNAL_INTERVAL",
    "Allowance",
    "BatchingParameters",
    "Code",
    "ConcurrencyLimit",
    "Configuration",
    "ExampleMethod",
    "JsonFormatter",
    "Manager",
    "Memory",
    "ModelConfig",
    "ModelRef",
    "Resolver",
    "Servable",
    "Source",
    "State",
    "Status",
    "StatusError",
    "TextFormatter",
    "Turn",
    "Version",
    "VersionPolicy",
    "deadline_exceeded",
    "event",
    "invalid_argument",
    "load_version",
    "log",
    "predict",
    "printable",
    "start_predict",
    "status_of",
]
