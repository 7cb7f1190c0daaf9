"""The seam for input and output, as the asynchronous ``Model`` needs it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, final

from numpy.typing import NDArray
from typing_extensions import override

from gradwire._package import Signature
from gradwire._transports import base
from gradwire._wire import Call, VersionStatus


class Transport(ABC):
    """Carries calls to a package; ``gradwire.Transport``, awaited.

    Its final classes are ``GrpcTransport`` and ``InThreads``.
    """

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the package is, for people."""

    @property
    def version(self) -> int | None:
        """The version that every call goes to; see ``gradwire.Transport.version``."""
        return None

    @abstractmethod
    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Request the signatures, by name; ``timeout`` in seconds."""

    @abstractmethod
    async def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        """Run a signature; see ``gradwire.Transport.predict``."""

    @abstractmethod
    def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Mapping[str, NDArray[Any]]]:
        """Make one call after the other, or several at once; see ``gradwire.Transport.stream``."""

    @abstractmethod
    async def status(self, *, timeout: float) -> list[VersionStatus]:
        """Request the state of every version of the model, the newest first; ``timeout`` in seconds."""

    async def pinned(self, *, timeout: float) -> Transport:
        """Return a transport to the version that responds now; see ``gradwire.Transport.pinned``."""
        del timeout
        return self

    @abstractmethod
    async def close(self) -> None:
        """Release what it holds; a second time is harmless."""


@final
class InThreads(Transport):
    """Makes the calls of a synchronous transport in threads: a package in process, or a fake in a test.

    Args:
        inner: makes the calls; it is used from several threads, and closed by ``close``.
    """

    def __init__(self, inner: base.Transport) -> None:
        self._inner = inner

    @property
    @override
    def address(self) -> str:
        return self._inner.address

    @property
    @override
    def version(self) -> int | None:
        return self._inner.version

    @override
    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        return await asyncio.to_thread(self._inner.signatures, timeout=timeout)

    @override
    async def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        return await asyncio.to_thread(self._inner.predict, call, timeout=timeout)

    @override
    async def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Mapping[str, NDArray[Any]]]:
        async for call in calls:
            yield {} if call.rows == 0 else await self.predict(call, timeout=timeout)

    @override
    async def status(self, *, timeout: float) -> list[VersionStatus]:
        return await asyncio.to_thread(self._inner.status, timeout=timeout)

    @override
    async def pinned(self, *, timeout: float) -> Transport:
        inner = await asyncio.to_thread(self._inner.pinned, timeout=timeout)
        return self if inner is self._inner else InThreads(inner)

    @override
    async def close(self) -> None:
        await asyncio.to_thread(self._inner.close)
