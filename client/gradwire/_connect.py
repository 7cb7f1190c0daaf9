"""The two ways to a ``Model``: a server, or a package in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gradwire._address import Address
from gradwire._grpc_transport import GrpcTransport
from gradwire._in_process import InProcessTransport, find_package
from gradwire._model import DEFAULT_TIMEOUT, Model

if TYPE_CHECKING:
    import os

    from gradwire._address import TLS


def connect(
    target: str,
    model: str,
    *,
    version: int | None = None,
    label: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    tls: TLS | bool | None = None,
) -> Model:
    """Connects to a model on a server, and asks for its signatures: a wrong address or name fails here.

    Args:
        target: ``"localhost:8500"``, ``"dns:///host:port"`` or ``"unix:path"``.
        model: its name on the server.
        version: its number; None for whichever is newest at each call.
        label: the version's label on the server, instead of its number.
        timeout: seconds for each call, chunks and all.
        tls: None for a plain line, True to trust the system's roots, or the files to use.

    Returns:
        The model.

    Raises:
        UsageError: the arguments cannot be (a target without a port, version and label both, TLS files
        missing).
        ServerUnreachable: nothing answers at the target.
        ModelNotFound: the server has no such model, version or label.
        DeadlineExceeded: no answer within the timeout.
        ServerError: the server refused.
    """
    return _ready(Model(GrpcTransport(Address(target, model, version, label, tls)), timeout=timeout))


def load(path: str | os.PathLike[str], *, timeout: float = DEFAULT_TIMEOUT) -> Model:
    """Loads a package into this process; the same ``Model`` as ``connect`` gives. Needs ``gradwire[serve]``.

    A SavedModel is a program: load only what you trust (SECURITY.md).

    Args:
        path: ``models/log``, of which the highest version is taken, or a version such as ``models/log/3``.
        timeout: seconds for each call.

    Returns:
        The model.

    Raises:
        MissingExtra: TensorFlow is not installed.
        PackageError: the directory is no package, or the package cannot be loaded.
    """
    return _ready(Model(InProcessTransport(find_package(Path(path))), timeout=timeout))


def _ready(model: Model) -> Model:
    """Asks for the signatures now, and leaves nothing open where that fails."""
    try:
        _ = model.signatures
    except BaseException:
        model.close()
        raise
    return model
