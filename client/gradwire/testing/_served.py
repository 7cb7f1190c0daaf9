"""The server's side of a fake: the version that responds, what goes wrong, and connections to it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, final

import grpc
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._grpc import RpcStatus, explain
from gradwire._package import CARD, Signature
from gradwire._transports import FakeTransport, Transport
from gradwire._wire import Address, Call, Prediction, VersionStatus


@final
class Served:
    """A model of one version at a time.

    Args:
        name: of the model.

    Attributes:
        errors: those of the next calls; a status code is what a server or the network responds.
        delay: seconds that a response takes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._latest = (0, FakeTransport({}))
        self.errors: deque[Exception | grpc.StatusCode] = deque()
        self.delay = 0.0

    @property
    def version(self) -> int:
        """The number of the version that responds."""
        return self._latest[0]

    def publish(self, functions: FakeTransport) -> None:
        """Replace the version that responds by the next one."""
        self._latest = (self.version + 1, functions)  # both at once, for calls of other threads

    def find(self, address: Address) -> tuple[int, FakeTransport]:
        """Return the version that an address leads to, and its functions; a label is that of the one that responds.

        Raises:
            ModelNotFound: it was replaced, or never there.
        """
        version, functions = self._latest
        if address.version not in (None, version):
            words = f"Servable not found for request: Specific({self._name}, {address.version})"
            raise explain(RpcStatus(grpc.StatusCode.NOT_FOUND, words), address, 0, None)
        return version, functions

    def respond(self, call: Call, address: Address, timeout: float) -> Prediction:
        """Respond to a call, or fail as a test has it.

        Raises:
            Exception: the next of ``errors``.
            DeadlineExceeded: the delay is longer than the timeout.
        """
        time.sleep(min(self.delay, timeout))
        if self.delay > timeout:
            raise explain(RpcStatus(grpc.StatusCode.DEADLINE_EXCEEDED, ""), address, timeout, call.rows)
        if call.signature.name != CARD:
            self._raise_next(call, address, timeout)
        version, functions = self.find(address)
        return Prediction(functions.predict(call, timeout=timeout), version)

    def _raise_next(self, call: Call, address: Address, timeout: float) -> None:
        try:
            error = self.errors.popleft()
        except IndexError:
            return
        if isinstance(error, Exception):
            raise error
        raise explain(RpcStatus(error, "as the test has it"), address, timeout, call.rows)


@final
class Connection(Transport):
    """A transport to a served fake; deep copies call the same one.

    Args:
        served: the fake.
        address: for its version, and for messages.
    """

    def __init__(self, served: Served, address: Address) -> None:
        self._served = served
        self._address = address

    @property
    @override
    def address(self) -> str:
        return str(self._address)

    @property
    @override
    def version(self) -> int | None:
        return self._address.version

    @override
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        return self._served.find(self._address)[1].signatures(timeout=timeout)

    @override
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        return self._served.respond(call, self._address, timeout)

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        last = self._served.version
        return [VersionStatus(number, "AVAILABLE" if number == last else "END", "") for number in range(last, 0, -1)]

    @override
    def pinned(self, *, timeout: float) -> Transport:
        if self._address.version is not None:
            return self
        return Connection(self._served, Address(self._address.target, self._address.model, self._served.version))

    @override
    def close(self) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Connection:
        return self
