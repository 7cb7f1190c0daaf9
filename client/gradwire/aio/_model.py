"""The asynchronous ``Model``: the requests of ``gradwire.Model``, carried out in an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, final

from numpy.typing import NDArray

from gradwire._model import (
    Method,
    Names,
    Options,
    PackageInfo,
    PreparedRequest,
    RequestBuilder,
    ResponseCache,
    Solution,
    card_call,
    read_card,
)
from gradwire._package import CARD, Card, Signature
from gradwire._wire import Call, VersionStatus
from gradwire.aio._transport import Transport


@final
class Model:
    """``gradwire.Model`` with methods to be awaited; they take, return and raise the same.

    Made by ``gradwire.aio.connect`` and ``gradwire.aio.load``; in tests, ``await Model.open(InThreads(fake))``. Any
    number of tasks and event loops may use it, and it is pickled as its address; ``close`` ends the connection of the
    running loop.

    Args:
        transport: makes the calls.
        package: its signatures and its card.
        options: as ``gradwire.Model`` has them.
    """

    def __init__(self, transport: Transport, package: PackageInfo, options: Options) -> None:
        self._transport = transport
        self._package = package
        self._options = options
        self._requests = RequestBuilder(package, options)
        self._cache = ResponseCache(options.memoize)

    @classmethod
    async def open(cls, transport: Transport, options: Options | None = None) -> Model:
        """Request the signatures and the card, and make the model.

        Args:
            transport: makes the calls; it is closed where this fails.
            options: None for the defaults.

        Raises:
            GradwireError: there is no response, or no such model.
        """
        options = options or Options()
        try:
            signatures = await transport.signatures(timeout=options.timeout)
            card: Card | None = None
            if CARD in signatures:
                call = card_call(signatures)
                card = read_card(await transport.predict(call, timeout=options.timeout))
        except BaseException:
            await transport.close()
            raise
        return cls(transport, PackageInfo(transport.address, signatures, card), options)

    async def value(self, /, *args: Any, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute f(x); see ``gradwire.Model.value``."""
        return await self._run("value", args, inputs, of=of, out=out)

    async def grad(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute df/dx; see ``gradwire.Model.grad``."""
        return await self._run("grad", args, inputs, wrt=wrt, of=of, out=out)

    async def derivative(self, name: str, /, *args: Any, **inputs: Any) -> Any:
        """Compute one first derivative by its name; see ``gradwire.Model.derivative``."""
        return await self._execute(self._requests.build_derivative(name, args, inputs))

    async def value_and_grad(
        self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any
    ) -> tuple[Any, Any]:
        """Compute f(x) and df/dx; see ``gradwire.Model.value_and_grad``."""
        return await self._run("value_and_grad", args, inputs, wrt=wrt, of=of, out=out)

    async def jacobian(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute df/dx as a matrix a point; see ``gradwire.Model.jacobian``."""
        return await self._run("jacobian", args, inputs, wrt=wrt, of=of, out=out)

    async def jvp(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute df/dx · x_dot; see ``gradwire.Model.jvp``."""
        return await self._run("jvp", args, inputs, wrt=wrt, of=of, out=out)

    async def vjp(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute f_bar · df/dx; see ``gradwire.Model.vjp``."""
        return await self._run("vjp", args, inputs, wrt=wrt, of=of, out=out)

    async def hvp(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute d²f/dx² · x_dot; see ``gradwire.Model.hvp``."""
        return await self._run("hvp", args, inputs, wrt=wrt, of=of, out=out)

    async def hessian(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute d²f/dx²; see ``gradwire.Model.hessian``."""
        return await self._run("hessian", args, inputs, wrt=wrt, of=of, out=out)

    async def uncertainty(
        self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any
    ) -> tuple[Any, Any]:
        """Compute the standard deviations of f(x) and df/dx; see ``gradwire.Model.uncertainty``."""
        return await self._run("uncertainty", args, inputs, wrt=wrt, of=of, out=out)

    async def solve(self, /, **inputs: Any) -> Solution:
        """Solve f(x) = target for one input; see ``gradwire.Model.solve``."""
        return await self._run("solve", (), inputs)

    async def is_trusted(self, /, *args: Any, **inputs: Any) -> Any:
        """Tell which points are near enough to the samples; see ``gradwire.Model.is_trusted``."""
        return await self._execute(self._requests.build_trust(args, inputs))

    async def predict(self, signature: str, /, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Call a signature as it is; see ``gradwire.Model.predict``."""
        return await self.run(signature, inputs)

    async def run(
        self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Call a signature for some of its outputs; see ``gradwire.Model.run``."""
        return await self._execute(self._requests.build_rows(signature, inputs, outputs))

    async def stream(
        self,
        blocks: Iterable[Any] | AsyncIterable[Any],
        method: Method = "value_and_grad",
        *,
        wrt: Names = None,
        of: Names = None,
    ) -> AsyncGenerator[Any]:
        """Compute block after block, several under way at once; see ``gradwire.Model.stream``.

        Args:
            blocks: from a plain iterable or an asynchronous one.
            method: what to compute, by the name of the method.
            wrt: as the method has it.
            of: as the method has it.

        Yields:
            What the method returns for each block, in order.
        """
        requests: deque[PreparedRequest] = deque()

        async def calls() -> AsyncIterator[Call]:
            async for block in _each(blocks):
                request = self._requests.build_block(method, block, of=of, wrt=wrt)
                if request.bars is not None:
                    await self._execute(request.bars)
                requests.append(request)
                yield request.call

        async with aclosing(self._transport.stream(calls(), timeout=self._options.timeout)) as responses:
            async for response in responses:
                request = requests.popleft()
                yield request.unpack(request.empty_response() or request.check(response))

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""
        return self._package.signatures

    @property
    def card(self) -> Card:
        """What the package states about itself; see ``gradwire.Model.card``."""
        return self._package.card

    @property
    def version(self) -> int | None:
        """The version that every call goes to; see ``gradwire.Model.version``."""
        return self._transport.version

    async def pinned(self) -> Model:
        """Return the model of the version that responds now; see ``gradwire.Model.pinned``."""
        transport = await self._transport.pinned(timeout=self._options.timeout)
        return self if transport is self._transport else await Model.open(transport, self._options)

    async def status(self) -> list[VersionStatus]:
        """Request the state of every version; see ``gradwire.Model.status``."""
        return await self._transport.status(timeout=self._options.timeout)

    async def close(self) -> None:
        """Release the connection or the package; a second time is harmless."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return Model, (self._transport, self._package, self._options)

    def __repr__(self) -> str:
        return f"<gradwire.aio.Model {self._transport.address}>"

    async def _run(self, method: Method, args: Sequence[Any], inputs: Mapping[str, Any], **choice: Any) -> Any:
        return await self._execute(self._requests.build(method, args, inputs, **choice))

    async def _execute(self, request: PreparedRequest) -> Any:
        if request.bars is not None:
            await self._execute(request.bars)
        arrays = request.empty_response()
        if arrays is None:
            key = self._cache.key(request)
            cached = None if key is None else self._cache.get(key)
            response = cached or await self._transport.predict(request.call, timeout=self._options.timeout)
            arrays = request.check(response)
            if cached is None and key is not None:
                self._cache.put(key, response, arrays)
        return request.unpack(arrays)


async def _each(blocks: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(blocks, AsyncIterable):
        async for block in blocks:
            yield block
    else:
        for block in blocks:
            yield block
