"""Channels: what gRPC itself is told to do about load balancing, retries, dead peers, message sizes and trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

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
_LARGEST_RESPONSE: Final = 512 * 1024 * 1024  # bytes, unpacked: far above a chunk, as estimates may be low
KEEP_ALIVE: Final = 20.0  # seconds: servers put up with two pings in a row that carry no data, and gRPC sends no more
_PING_TIMEOUT: Final = 0.5  # of the interval

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"


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


def open_method(channel: Any, path: str, address: Address) -> Any:
    """Return a method of a channel, which takes and returns bytes."""
    method = channel.unary_unary(path)
    is_plain = address.token is not None and not address.tls
    return _WithMetadata(method, address) if address.metadata or is_plain else method


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
        ("grpc.max_receive_message_length", _LARGEST_RESPONSE),
        ("grpc.max_send_message_length", -1),  # a single row may be larger than the limit of a chunk
        ("grpc.max_reconnect_backoff_ms", 2_000),  # finds a restarted server so soon, not in gRPC's 2 minutes
        ("grpc.service_config", json.dumps(config)),
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER),
        ("grpc.keepalive_time_ms", int(1000 * keep_alive)),
        ("grpc.keepalive_timeout_ms", int(1000 * keep_alive * _PING_TIMEOUT)),
        ("grpc.http2.ping_timeout_ms", int(1000 * keep_alive * _PING_TIMEOUT)),  # of gRPC's pings for its own use
    ]
    if address.is_local:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy elsewhere does not know this machine's servers
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
    return grpc.composite_channel_credentials(secured, grpc.metadata_call_credentials(_Bearer(address)))


@final
class _Bearer(grpc.AuthMetadataPlugin):
    """Reads the token for each call, in a thread of gRPC's; gRPC sends it over secured connections only."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __call__(self, context: Any, callback: Callable[[Any, Exception | None], None]) -> None:
        try:
            callback(self._address.bearer(), None)
        except UsageError as error:
            callback((), error)


@final
class _WithMetadata:
    """A method of a channel that sends an address's metadata with each call, and its token where nothing is encrypted.

    That no such connection leaves this machine, ``Address`` sees to.
    """

    def __init__(self, method: Any, address: Address) -> None:
        self._method = method
        self._address = address

    def __call__(self, request: bytes, *, timeout: float, metadata: Pairs = ()) -> Any:
        return self._method(request, timeout=timeout, metadata=self._all(metadata))

    def future(self, request: bytes, *, timeout: float, metadata: Pairs = ()) -> Any:
        """Start a call of a synchronous channel."""
        return self._method.future(request, timeout=timeout, metadata=self._all(metadata))

    def _all(self, metadata: Pairs) -> Pairs:
        bearer = () if self._address.tls else self._address.bearer()
        return (*metadata, *self._address.metadata, *bearer)
