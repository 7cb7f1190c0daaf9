"""The seam for input and output, as the asynchronous ``Model`` needs it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, final

from gradwire._wire import count_rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from numpy.typing import NDArray

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

    @abstractmethod
    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Asks for the signatures; see ``gradwire.Transport``."""

    @abstractmethod
    async def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        """Runs a signature; see ``gradwire.Transport``."""

    @abstractmethod
    def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Mapping[str, NDArray[Any]]]:
        """Makes one call after the other, or several at once; see ``gradwire.Transport``."""

    @abstractmethod
    async def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version; see ``gradwire.Transport``."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of what it holds; a second time is harmless."""


@final
class InThreads(Transport):
    """Makes the calls of a synchronous transport in threads: a package in process, or a fake in a test.

    Args:
        inner: what answers; it is used from several threads, and closed by ``close``.
    """

    def __init__(self, inner: base.Transport) -> None:
        self._inner = inner

    @property
    def address(self) -> str:
        """Where the package is, for people."""
        return self._inner.address

    async def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Asks for the signatures; see ``Transport``."""
        return await asyncio.to_thread(self._inner.signatures, timeout=timeout)

    async def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        """Runs a signature; see ``Transport``."""
        signature, inputs, outputs = call
        return await asyncio.to_thread(self._inner.predict, signature, inputs, outputs=outputs, timeout=timeout)

    async def stream(self, calls: AsyncIterator[Call], *, timeout: float) -> AsyncGenerator[Mapping[str, NDArray[Any]]]:
        """Makes one call after the other; see ``Transport``."""
        async for call in calls:
            if count_rows(call.signature, call.inputs) == 0:
                yield {}
            else:
                yield await self.predict(call, timeout=timeout)

    async def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version; see ``Transport``."""
        return await asyncio.to_thread(self._inner.status, timeout=timeout)

    async def close(self) -> None:
        """Closes the transport."""
        await asyncio.to_thread(self._inner.close)
