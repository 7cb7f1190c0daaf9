"""The two ways to an asynchronous ``Model``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradwire._model import Options
from gradwire._package import check_digest, find_package
from gradwire._transports import InProcessTransport
from gradwire._wire import Address, as_target
from gradwire.aio._grpc_transport import GrpcTransport
from gradwire.aio._model import Model
from gradwire.aio._transport import InThreads

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from gradwire._wire import TLS


async def connect(
    target: str | Sequence[str],
    model: str,
    *,
    version: int | None = None,
    label: str | None = None,
    tls: TLS | bool | None = None,
    token: str | Callable[[], str] | None = None,
    gzip: bool = False,
    **options: Any,
) -> Model:
    """Connects to a model on a server; ``gradwire.connect``, awaited.

    Args:
        target: as for ``gradwire.connect``.
        model: its name on the server.
        version: its number; None for whichever is newest at each call.
        label: the version's label on the server, instead of its number.
        tls: None for a plain line, True to trust the system's roots, or the files to use.
        token: sent with each call, over TLS alone.
        gzip: whether requests are packed.
        **options: ``timeout``, ``cast``, ``on_extrapolation`` and ``memoize``, as for ``gradwire.connect``.

    Returns:
        The model.

    Raises:
        GradwireError: as for ``gradwire.connect``.
    """
    chosen = Options(**options)
    address = Address(as_target(target), model, version, label, tls, token, gzip)
    return await Model.open(GrpcTransport(address), chosen)


async def load(path: str | os.PathLike[str], **options: Any) -> Model:
    """Loads a package into this process; ``gradwire.load``, awaited. Calls run in threads.

    Args:
        path: as for ``gradwire.load``.
        **options: ``timeout``, ``cast``, ``on_extrapolation`` and ``memoize``, as for ``gradwire.load``.

    Returns:
        The model.

    Raises:
        GradwireError: as for ``gradwire.load``.
    """
    chosen = Options(**options)
    return await Model.open(InThreads(await asyncio.to_thread(_load, Path(path))), chosen)


def _load(path: Path) -> InProcessTransport:
    package = find_package(path)
    check_digest(package)
    return InProcessTransport(package)
