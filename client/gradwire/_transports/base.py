"""The one seam for input and output: what a ``Model`` needs of whatever answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from gradwire._wire import count_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._package import Signature
    from gradwire._wire import Call, VersionStatus


class Transport(ABC):
    """Carries calls to a package: over gRPC, in process, or to a test's own function.

    A transport is safe to use from several threads. Its final classes are ``GrpcTransport``,
    ``InProcessTransport`` and ``FakeTransport``.
    """

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the package is, for people: ``"log at localhost:8500"``."""

    @abstractmethod
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Asks for the signatures.

        Args:
            timeout: seconds.

        Returns:
            By name.
        """

    @abstractmethod
    def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout: float,
    ) -> Mapping[str, NDArray[Any]]:
        """Runs a signature.

        Args:
            signature: one of ``signatures()``.
            inputs: by name, in the signature's dtypes, with at least one row.
            outputs: the outputs wanted; None for all.
            timeout: seconds, for the whole call.

        Returns:
            The outputs by name; they may be read-only. An ``Prediction``, where the version is known.
        """

    def stream(self, calls: Iterable[Call], *, timeout: float) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Makes one call after the other; a transport that waits for another machine has several under way.

        Args:
            calls: taken as they are needed. One of no rows is answered by an empty mapping, and not sent.
            timeout: seconds for each call.

        Yields:
            The answers, in the order of the calls.
        """
        for call in calls:
            if count_rows(call.signature, call.inputs) == 0:
                yield {}
            else:
                yield self.predict(call.signature, call.inputs, outputs=call.outputs, timeout=timeout)

    @abstractmethod
    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version of the model, the newest first.

        Args:
            timeout: seconds.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of what it holds; a second time is harmless."""
