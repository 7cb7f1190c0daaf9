"""A transport that keeps a record of its calls."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

from numpy.typing import NDArray
from typing_extensions import override

from gradwire._package import CARD, Signature
from gradwire._transports import Transport
from gradwire._wire import Call, VersionStatus


class RecordedCall(NamedTuple):
    """A call that was made; it equals the pair ``(signature, rows)``.

    Attributes:
        signature: its name.
        rows: how many it had; None where no input has a batch axis.
    """

    signature: str
    rows: int | None


@final
class RecordingTransport(Transport):
    """Another transport, whose calls are recorded: to a fake, or to a real server in an integration test.

    Args:
        inner: makes the calls; it is closed by ``close``.
        hidden: names of signatures to leave out, as if the package lacked them.

    Attributes:
        calls: those made so far, in order, failed ones included, but for those of the card; clear it at will. Copies
            and pinned models are recorded in the same list.
    """

    def __init__(self, inner: Transport, *, hidden: Sequence[str] = ()) -> None:
        self._inner = inner
        self._hidden = frozenset(hidden)
        self.calls: list[RecordedCall] = []

    @property
    @override
    def address(self) -> str:
        return self._inner.address

    @property
    @override
    def version(self) -> int | None:
        return self._inner.version

    @override
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        signatures = self._inner.signatures(timeout=timeout)
        return {name: signatures[name] for name in signatures if name not in self._hidden}

    @override
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        self._record(call)
        return self._inner.predict(call, timeout=timeout)

    @override
    def stream(self, calls: Iterable[Call], *, timeout: float) -> Iterator[Mapping[str, NDArray[Any]]]:
        def recorded() -> Iterator[Call]:
            for call in calls:
                self._record(call)
                yield call

        return self._inner.stream(recorded(), timeout=timeout)

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        return self._inner.status(timeout=timeout)

    @override
    def pinned(self, *, timeout: float) -> Transport:
        inner = self._inner.pinned(timeout=timeout)
        return self if inner is self._inner else self._around(inner)

    @override
    def close(self) -> None:
        self._inner.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordingTransport:
        return self._around(copy.deepcopy(self._inner, memo))

    def _around(self, inner: Transport) -> RecordingTransport:
        """Return the same around another transport, with one record."""
        other = RecordingTransport(inner, hidden=tuple(self._hidden))
        other.calls = self.calls
        return other

    def _record(self, call: Call) -> None:
        if call.signature.name != CARD:
            self.calls.append(RecordedCall(call.signature.name, call.rows))
