"""The one seam for input and output: what a ``Model`` needs of whatever answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._contract import Signature


class VersionStatus(NamedTuple):
    """The state of one version of a model.

    Attributes:
        version: its number.
        state: Serving's word: ``START``, ``LOADING``, ``AVAILABLE``, ``UNLOADING``, ``END`` or ``UNKNOWN``.
        error: why it could not be loaded, as ``"CODE: message"``; empty when nothing went wrong.
    """

    version: int
    state: str
    error: str


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
            The outputs by name; they may be read-only.
        """

    @abstractmethod
    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version of the model, the newest first.

        Args:
            timeout: seconds.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of what it holds; a second time is harmless."""
