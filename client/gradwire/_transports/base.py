"""The one seam for input and output: what a ``Model`` needs of its transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from gradwire._package import Signature
from gradwire._wire import Call, VersionStatus


class Transport(ABC):
    """Carries calls to a package: over gRPC, in process, or to a test's own function.

    A transport is safe to use from several threads. Its final classes are ``GrpcTransport``, ``InProcessTransport`` and
    ``FakeTransport``.

    Attributes:
        can_run_empty: whether a call of no rows may be sent; a server with batching would let it wait forever.
    """

    can_run_empty: ClassVar[bool] = False

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the package is, for people: ``"log at localhost:8500"``."""

    @property
    def version(self) -> int | None:
        """The version that every call goes to; None where the server chooses it, or it has no number."""
        return None

    @abstractmethod
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Request the signatures.

        Args:
            timeout: seconds.

        Returns:
            By name.
        """

    @abstractmethod
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        """Run a signature.

        Args:
            call: of one of ``signatures()``, with at least one row.
            timeout: seconds, for the whole call.

        Returns:
            The outputs by name; they may be read-only. A ``Prediction``, where the version is known.
        """

    def stream(self, calls: Iterable[Call], *, timeout: float) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Make one call after the other; a transport that waits for another machine has several under way.

        Args:
            calls: taken as they are needed. One of no rows yields an empty mapping, and is not sent.
            timeout: seconds for each call.

        Yields:
            The predictions, in the order of the calls.
        """
        for call in calls:
            yield {} if call.rows == 0 else self.predict(call, timeout=timeout)

    @abstractmethod
    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Request the state of every version of the model, the newest first.

        Args:
            timeout: seconds.
        """

    def pinned(self, *, timeout: float) -> Transport:
        """Return a transport to the version that responds now, to be closed by itself; this one if there is but one.

        Args:
            timeout: seconds.
        """
        del timeout
        return self

    @abstractmethod
    def close(self) -> None:
        """Release what it holds; a second time is harmless."""
