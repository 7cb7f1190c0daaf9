"""The two ways to an asynchronous ``Model``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from gradwire._model import DEFAULT_CASTING, DEFAULT_TIMEOUT, Casting, Extrapolation, Options
from gradwire._package import check_digest, find_package
from gradwire._transports import InProcessTransport
from gradwire._wire import TLS, Address, as_metadata, as_target
from gradwire.aio._grpc import GrpcTransport
from gradwire.aio._model import Model
from gradwire.aio._transport import InThreads


async def connect(
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
    """Connect to a model on a server; ``gradwire.connect``, awaited.

    Args:
        target: as for ``gradwire.connect``, like all others.
        model: its name on the server.
        version: its number; None for whichever is newest at each call.
        label: the version's label on the server, instead of its number.
        timeout: seconds for each operation: chunks, waits and retries together.
        tls: None for an unencrypted connection, True to trust the system's roots, or the files to use.
        token: sent as ``authorization: Bearer …`` with each call, over TLS or within this machine; or a function
            that returns it, called for each.
        gzip: whether requests are compressed.
        metadata: names and values sent with each call, such as a gateway asks for; text.
        cast: what a cast to the server's dtype may lose: ``"exact"``, ``"round"`` or ``"allow"``.
        on_extrapolation: about points outside of the card's domain: ``"ignore"``, ``"warn"`` or ``"raise"``.
        memoize: how many responses to cache, keyed by the exact request bytes.

    Returns:
        The model.

    Raises:
        GradwireError: as for ``gradwire.connect``.
    """
    options = Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize)
    address = Address(as_target(target), model, version, label, tls, token, gzip, as_metadata(metadata))
    return await Model.open(GrpcTransport(address), options)


async def load(
    path: str | os.PathLike[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    cast: Casting = DEFAULT_CASTING,
    on_extrapolation: Extrapolation = "ignore",
    memoize: int = 0,
) -> Model:
    """Load a package into this process; ``gradwire.load``, awaited. Calls run in threads.

    Args:
        path: ``models/log``, of which the highest version is taken, or a version such as ``models/log/3``.
        timeout: seconds for each call.
        cast: as for ``connect``.
        on_extrapolation: as for ``connect``.
        memoize: as for ``connect``.

    Returns:
        The model.

    Raises:
        GradwireError: as for ``gradwire.load``.
    """
    options = Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize)
    return await Model.open(InThreads(await asyncio.to_thread(_load, path)), options)


def _load(path: str | os.PathLike[str]) -> InProcessTransport:
    package = find_package(path)
    check_digest(package)
    return InProcessTransport(package)
