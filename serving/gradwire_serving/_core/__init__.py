"""The server's core: sources, versions and servables, which know no wire."""

from gradwire_serving._core.loader import load_version
from gradwire_serving._core.manager import SIGNAL_INTERVAL, Manager, State, Version
from gradwire_serving._core.predict import predict
from gradwire_serving._core.resolver import Resolver
from gradwire_serving._core.servable import Servable
from gradwire_serving._core.source import Source

__all__ = [
    "SIGNAL_INTERVAL",
    "Manager",
    "Resolver",
    "Servable",
    "Source",
    "State",
    "Version",
    "load_version",
    "predict",
]
