"""The two ways to a ``Model``: a server, or a package in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from gradwire._errors import ConversionError, MissingExtra, UsageError
from gradwire._model import DEFAULT_CASTING, DEFAULT_TIMEOUT, Casting, Extrapolation, Model, Options, model_of
from gradwire._package import ONNX_SUFFIX, check_digest, find_package
from gradwire._transports import GrpcTransport, InProcessTransport, NativeTransport, OnnxTransport, Transport
from gradwire._wire import TLS, Address, as_metadata, as_target

Engine = Literal["tensorflow", "native", "auto"]
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)
LEAST_SPEEDUP: Final = 2.0  # of the native engine, for ``auto`` to take it


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
    engine: Engine = "tensorflow",
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
        engine: what runs a package: ``"tensorflow"``; ``"native"``, C that is compiled for this machine the first time,
            for dense networks (docs/native.md); ``"auto"``, native where that can be built and is twice as fast.
        timeout: seconds for each call.
        cast: as for ``connect``.
        on_extrapolation: as for ``connect``.
        memoize: as for ``connect``.

    Returns:
        The model.

    Raises:
        UsageError: an unknown engine, or one for an ONNX file.
        MissingExtra: TensorFlow, onnxruntime or a C compiler is not installed.
        PackageError: the directory or file is not a package, is not what its card describes, or cannot be loaded.
        ConversionError: the native engine does not compile the package.
        CheckFailed: what it compiled does not agree with the package.
    """
    options = Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize)
    return _ready(model_of(_transport(path, engine), options))


def _transport(path: str | os.PathLike[str], engine: Engine) -> Transport:
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}, expected one of {', '.join(ENGINES)}")
    if str(path).endswith(ONNX_SUFFIX) and not Path(path).is_dir():
        if engine != ENGINES[0]:
            raise UsageError(f"{path} runs in onnxruntime, and engine={engine!r} is for a package: leave it out")
        return OnnxTransport(Path(path).resolve())
    package = find_package(path)
    check_digest(package)
    if engine == "native":
        return NativeTransport(package)
    return (_fast(package) if engine == "auto" else None) or InProcessTransport(package)


def _fast(package: Path) -> NativeTransport | None:
    """Return the native engine where it can be built and is worth it."""
    try:
        native = NativeTransport(package)
    except (MissingExtra, ConversionError):
        return None
    if native.speedup >= LEAST_SPEEDUP:
        return native
    native.close()
    return None


def _ready(model: Model) -> Model:
    """Request the signatures now, and leave nothing open where that fails."""
    try:
        _ = model.signatures
    except BaseException:
        model.close()
        raise
    return model
