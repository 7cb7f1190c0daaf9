"""Channels: what gRPC itself is told to do about load balancing, retries, dead peers, message sizes and trust."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final, final

import grpc

from gradwire._errors import UsageError
from gradwire._wire import TLS, Address

# gRPC itself resends a message whose server was gone, with jitter, up to so often; beyond that `CallScheduler`
# continues until the deadline. That a server is full is left to `CallScheduler` as well, which sends fewer at a time;
# but for the requests for metadata and status, which are few and small.
_RETRY: Final = {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2}
_PREDICT: Final = {"service": "tensorflow.serving.PredictionService", "method": "Predict"}
_METADATA: Final = (
    {"service": "tensorflow.serving.PredictionService", "method": "GetModelMetadata"},
    {"service": "tensorflow.serving.ModelService"},
)
_GONE: Final = "UNAVAILABLE"
_FULL: Final = "RESOURCE_EXHAUSTED"
_RETRY_BUFFER: Final = 8 * 1024 * 1024  # bytes a call: gRPC's 256 KiB would leave out every large chunk
KEEP_ALIVE: Final = 20.0  # seconds: servers put up with two pings in a row that carry no data, and gRPC sends no more
_PING_TIMEOUT: Final = 0.5  # of the interval

# Before, every call in the child fails as if the server were gone, unless gRPC was told to expect forks
# (tried: 1.63, 1.68, 1.74, 1.76 and 1.78 fail; 1.80 and 1.85 work).
_FORK_SAFE: Final = (1, 80)
_FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"


def open_channel(address: Address, keep_alive: float, *, asynchronous: bool) -> Any:
    """Open a channel.

    Args:
        address: where it leads; several servers take turns.
        keep_alive: seconds of silence during a call after which the server is pinged.
        asynchronous: whether it is a ``grpc.aio.Channel``, of the running event loop, or a ``grpc.Channel``.

    Raises:
        UsageError: the files of ``address.tls`` cannot be read.
        ServerUnreachable: one of several servers has an unknown name.
    """
    api: Any = grpc.aio if asynchronous else grpc
    secured = _credentials(address)
    options = _options(address, keep_alive)
    compression = grpc.Compression.Gzip if address.gzip else grpc.Compression.NoCompression
    if secured is None:
        return api.insecure_channel(address.resolve(), options, compression)
    return api.secure_channel(address.resolve(), secured, options, compression)


def _options(address: Address, keep_alive: float) -> list[tuple[str, Any]]:
    config: dict[str, Any] = {
        "methodConfig": [
            {"name": [_PREDICT], "retryPolicy": {**_RETRY, "retryableStatusCodes": [_GONE]}},
            {"name": _METADATA, "retryPolicy": {**_RETRY, "retryableStatusCodes": [_GONE, _FULL]}},
        ]
    }
    if address.is_balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", -1),  # a response larger than estimated is better than none
        ("grpc.max_send_message_length", -1),  # a single row may be larger than the limit of a chunk
        ("grpc.max_reconnect_backoff_ms", 2_000),  # finds a restarted server so soon, not in gRPC's 2 minutes
        ("grpc.service_config", json.dumps(config)),
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER),
        ("grpc.keepalive_time_ms", int(1000 * keep_alive)),
        ("grpc.keepalive_timeout_ms", int(1000 * keep_alive * _PING_TIMEOUT)),
        ("grpc.http2.ping_timeout_ms", int(1000 * keep_alive * _PING_TIMEOUT)),  # of gRPC's pings for its own use
    ]
    if address.authority:
        options.append(("grpc.default_authority", address.authority))
    return options


def _credentials(address: Address) -> grpc.ChannelCredentials | None:
    match address.tls:
        case None | False:
            return None
        case True:
            secured = grpc.ssl_channel_credentials()
        case TLS() as files:
            secured = grpc.ssl_channel_credentials(*files.read())
    if address.token is None:
        return secured
    return grpc.composite_channel_credentials(secured, grpc.metadata_call_credentials(_Bearer(address.token)))


@final
class _Bearer(grpc.AuthMetadataPlugin):
    """Sends a token with each call; gRPC does so over secured connections only."""

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def __call__(self, context: Any, callback: Callable[[Any, Exception | None], None]) -> None:
        try:
            token = self._token if isinstance(self._token, str) else self._token()
        except Exception as error:  # noqa: BLE001 - whatever the caller's function raises, gRPC passes on
            callback((), error)
        else:
            callback((("authorization", f"Bearer {token}"),), None)


def check_fork() -> None:
    """Raise UsageError where gRPC does not survive a fork of this process."""
    major, minor = (int(part) for part in grpc.__version__.split(".")[:2])
    is_enabled = os.environ.get(_FORK_SUPPORT, "0").lower() not in ("", "0", "false", "no")
    if (major, minor) < _FORK_SAFE and not is_enabled:
        oldest = ".".join(str(part) for part in _FORK_SAFE)
        raise UsageError(
            f"grpcio {grpc.__version__} does not survive a fork, expected {oldest} or newer: install it, set "
            f"{_FORK_SUPPORT}=1 before Python starts, or start processes with 'spawn'"
        )
