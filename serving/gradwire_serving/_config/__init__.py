"""What a server is told: its options and its models."""

from gradwire_serving._config.flags import flags
from gradwire_serving._config.models import ModelConfig, VersionPolicy, config_text, models_of
from gradwire_serving._config.options import DEFAULT_MODEL_NAME, DEFAULT_PORT, ServerOptions

__all__ = [
    "DEFAULT_MODEL_NAME",
    "DEFAULT_PORT",
    "ModelConfig",
    "ServerOptions",
    "VersionPolicy",
    "config_text",
    "flags",
    "models_of",
]
