"""The two ways to a ``Model``: a server, or a package in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gradwire._model import DEFAULT_CASTING, DEFAULT_TIMEOUT, Casting, Extrapolation, Model, Options, model_of
from gradwire._package import ONNX_SUFFIX, check_digest, find_package
from gradwire._transports import GrpcTransport, InProcessTransport, OnnxTransport, Transport
from gradwire._wire import TLS, Address, as_metadata, as_target


def connect(
    target: str | Sequence[str],
    model: str,
    *,
    version: int | None = None,
    label: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    tls: TLS | bool | None = None,
    token: str | Callable[[], str] | None = None,
    gzip: bool = False,
    metadata: Mapping[str, str] | None = None,
    cast: Casting = DEFAULT_CASTING,
    on_extrapolation: Extrapolation = "ignore",
    memoize: int = 0,
) -> Model:
    """Connect to a model on a server, and request its signatures: a wrong address or name fails here.

    Args:
        target: ``"localhost:8500"``, ``"dns:///host:port"``, ``"unix:///run/tf.sock"`` (``"unix:path"``,
            ``"unix-abstract:name"``), or several ``"host:port"``. Several servers, and those behind a name after
            ``dns:///``, take turns; where they show certificates, these must hold for the first one's name.
        model: its name on the server.
        version: its number; None for whichever is newest at each call.
        label: the version's label on the server, instead of its number.
        timeout: seconds for each operation: chunks, waits and retries together. Calls of a server that is gone or full
            are repeated for as long.
        tls: None for an unencrypted connection, True to trust the system's roots, or the files to use.
        token: sent as ``authorization: Bearer …`` with each call, over TLS or within this machine; or a function
            that returns it, called for each.
        gzip: whether requests are compressed; responses are where the server does so.
        metadata: names and values sent with each call, such as a gateway asks for; text.
        cast: what a cast to the server's dtype may lose: ``"exact"`` nothing, ``"round"`` what rounding a float
            loses, ``"allow"`` anything.
        on_extrapolation: about points outside of the card's domain: ``"ignore"``, ``"warn"`` or ``"raise"``.
        memoize: how many responses to cache, keyed by the exact request bytes. They are all of one version: when
            another one responds, they go; give ``version`` to rule out a response of the version before.

    Returns:
        The model.

    Raises:
        UsageError: the arguments are unusable (a target without a port, version and label both, TLS files
            missing, metadata that cannot be sent, a token without TLS).
        ServerUnreachable: nothing responds at the target, or it cannot be trusted.
        ModelNotFound: the server has no such model, version or label.
        DeadlineExceeded: no response within the timeout.
        ServerError: the server refused.
    """
    options = Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize)
    address = Address(as_target(target), model, version, label, tls, token, gzip, as_metadata(metadata))
    return _ready(model_of(GrpcTransport(address), options))


def load(
    path: str | os.PathLike[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    cast: Casting = DEFAULT_CASTING,
    on_extrapolation: Extrapolation = "ignore",
    memoize: int = 0,
) -> Model:
    """Load a package or an ONNX file into this process; the same ``Model`` as ``connect`` returns.

    A package needs ``gradwire[serve]``, a file of ``gradwire convert`` the lighter ``gradwire[onnx]``. Both are
    programs: load only what you trust (SECURITY.md).

    Args:
        path: ``models/log``, of which the highest version is taken, a version such as ``models/log/3``, or
            ``log.onnx``.
        timeout: seconds for each call.
        cast: as for ``connect``.
        on_extrapolation: as for ``connect``.
        memoize: as for ``connect``.

    Returns:
        The model.

    Raises:
        MissingExtra: TensorFlow, or onnxruntime, is not installed.
        PackageError: the directory or file is not a package, is not what its card describes, or cannot be loaded.
    """
    options = Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize)
    return _ready(model_of(_transport(path), options))


def _transport(path: str | os.PathLike[str]) -> Transport:
    if str(path).endswith(ONNX_SUFFIX) and not Path(path).is_dir():
        return OnnxTransport(Path(path).resolve())
    package = find_package(path)
    check_digest(package)
    return InProcessTransport(package)


def _ready(model: Model) -> Model:
    """Request the signatures now, and leave nothing open where that fails."""
    try:
        _ = model.signatures
    except BaseException:
        model.close()
        raise
    return model
