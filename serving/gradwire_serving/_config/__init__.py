"""What a server is started with: its options, and the models that they specify."""

from gradwire_serving._config.batching import batching_of
from gradwire_serving._config.config_file import ConfigFile
from gradwire_serving._config.listening import address_text, bind
from gradwire_serving._config.models import config_text, models_in, models_of
from gradwire_serving._config.monitoring import DEFAULT_METRICS_PATH, metrics_path
from gradwire_serving._config.options import (
    ANY_PORT,
    DEFAULT_HOST,
    DEFAULT_MODEL_NAME,
    DEFAULT_PORT,
    EMBEDDED_ONLY,
    TOKEN_VARIABLE,
    ServerOptions,
    flags,
)
from gradwire_serving._config.promotion import DEFAULT_CONFIG, Promotion, promote
from gradwire_serving._config.security import REFUSED, BearerToken, Certificates, certificates_of, token_of

__all__ = [
    "ANY_PORT",
    "DEFAULT_CONFIG",
    "DEFAULT_HOST",
    "DEFAULT_METRICS_PATH",
    "DEFAULT_MODEL_NAME",
    "DEFAULT_PORT",
    "EMBEDDED_ONLY",
    "REFUSED",
    "TOKEN_VARIABLE",
    "BearerToken",
    "Certificates",
    "ConfigFile",
    "Promotion",
    "ServerOptions",
    "address_text",
    "batching_of",
    "bind",
    "certificates_of",
    "config_text",
    "flags",
    "metrics_path",
    "models_in",
    "models_of",
    "promote",
    "token_of",
]
