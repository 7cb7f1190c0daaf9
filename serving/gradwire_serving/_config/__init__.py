"""What a server is started with: its options, and the models that they specify."""

from gradwire_serving._config.batching import batching_of
from gradwire_serving._config.config_file import ConfigFile
from gradwire_serving._config.models import config_text, models_in, models_of
from gradwire_serving._config.options import DEFAULT_MODEL_NAME, DEFAULT_PORT, EMBEDDED_ONLY, ServerOptions, flags

__all__ = [
    "DEFAULT_MODEL_NAME",
    "DEFAULT_PORT",
    "EMBEDDED_ONLY",
    "ConfigFile",
    "ServerOptions",
    "batching_of",
    "config_text",
    "flags",
    "models_in",
    "models_of",
]
