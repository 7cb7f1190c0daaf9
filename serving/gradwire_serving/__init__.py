"""Serve packages: the embedded server, and the launcher of TensorFlow Serving.

servable = Servable.load(Path("models/log/1"))  # one version, in process
server = EmbeddedServer(ServerOptions(directory=Path("models"), port=0))  # all of them, over gRPC
launch(find_engine("auto"), ServerOptions(directory=Path("models")), say=print)  # whatever this machine has
"""

from __future__ import annotations

from gradwire_serving._config import Promotion, ServerOptions, models_of, promote
from gradwire_serving._core import ModelConfig, Servable
from gradwire_serving._launch import (
    AUTO,
    ENGINES,
    TF_SERVING_VERSION,
    Plan,
    command,
    find_engine,
    launch,
    plan,
)
from gradwire_serving._server import EmbeddedServer

__all__ = [
    "AUTO",
    "ENGINES",
    "TF_SERVING_VERSION",
    "EmbeddedServer",
    "ModelConfig",
    "Plan",
    "Promotion",
    "Servable",
    "ServerOptions",
    "command",
    "find_engine",
    "launch",
    "models_of",
    "plan",
    "promote",
]
