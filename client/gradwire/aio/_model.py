"""The asynchronous ``Model``: the plans of ``gradwire.Model``, carried out in an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, final

from gradwire._model import CARD_ROWS, Calculus, Memo, Options, Package, read_card
from gradwire._package import CARD
from gradwire._wire import Call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from gradwire._model import Method, Plan
    from gradwire._package import Card, Signature
    from gradwire._wire import VersionStatus
    from gradwire.aio._transport import Transport


@final
class Model:
    """``gradwire.Model`` with methods to be awaited; they take, give and raise the same.

    Made by ``gradwire.aio.connect`` and ``gradwire.aio.load``; in tests, ``await Model.open(InThreads(fake))``. It
    belongs to the event loop in which it was made, where any number of tasks may use it.

    Args:
        transport: what answers.
        package: what is known of it.
        options: as ``gradwire.Model`` has them.
    """

    def __init__(self, transport: Transport, package: Package, options: Options) -> None:
        self._transport = transport
        self._package = package
        self._options = options
        self._calculus = Calculus(package, casting=options.cast, on_extrapolation=options.on_extrapolation)
        self._memo = Memo(options.memoize)

    @classmethod
    async def open(cls, transport: Transport, options: Options | None = None) -> Model:
        """Asks for the signatures and the card, and makes the model.

        Args:
            transport: what answers; it is closed where this fails.
            options: None for the defaults.

        Raises:
            GradwireError: nothing answers, or no such model.
        """
        options = options or Options()
        try:
            signatures = await transport.signatures(timeout=options.timeout)
            card: Card | None = None
            if CARD in signatures:
                call = Call(signatures[CARD], CARD_ROWS)
                card = read_card(await transport.predict(call, timeout=options.timeout))
        except BaseException:
            await transport.close()
            raise
        return cls(transport, Package(transport.address, signatures, card), options)

    async def value(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes f(x); see ``gradwire.Model.value``."""
        return await self._do(self._calculus.value(args, inputs))

    async def grad(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes df/dx; see ``gradwire.Model.grad``."""
        return await self._do(self._calculus.grad(args, inputs))

    async def value_and_grad(self, /, *args: Any, **inputs: Any) -> tuple[Any, Any]:
        """Computes f(x) and df/dx; see ``gradwire.Model.value_and_grad``."""
        return await self._do(self._calculus.value_and_grad(args, inputs))

    async def jacobian(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes df/dx as a matrix a point; see ``gradwire.Model.jacobian``."""
        return await self._do(self._calculus.jacobian(args, inputs))

    async def jvp(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes df/dx · x_dot; see ``gradwire.Model.jvp``."""
        return await self._do(self._calculus.jvp(args, inputs))

    async def vjp(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes f_bar · df/dx; see ``gradwire.Model.vjp``."""
        return await self._do(self._calculus.vjp(args, inputs))

    async def hvp(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes d²f/dx² · x_dot; see ``gradwire.Model.hvp``."""
        return await self._do(self._calculus.hvp(args, inputs))

    async def hessian(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes d²f/dx²; see ``gradwire.Model.hessian``."""
        return await self._do(self._calculus.hessian(args, inputs))

    async def predict(self, signature: str, /, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Calls a signature as it stands; see ``gradwire.Model.predict``."""
        return await self.run(signature, inputs)

    async def run(
        self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Calls a signature for some of its outputs; see ``gradwire.Model.run``."""
        return await self._do(self._calculus.rows(signature, inputs, outputs))

    async def stream(
        self, blocks: Iterable[Any] | AsyncIterable[Any], method: Method = "value_and_grad"
    ) -> AsyncGenerator[Any]:
        """Computes block after block, several under way at once; see ``gradwire.Model.stream``.

        Args:
            blocks: from a plain iterable or an asynchronous one.
            method: what to compute, by the name of the method.

        Yields:
            What the method gives for each block, in order.
        """
        plans: deque[Plan] = deque()

        async def calls() -> AsyncIterator[Call]:
            async for block in _each(blocks):
                plans.append(self._calculus.block(method, block))
                yield plans[-1].call

        async with aclosing(self._transport.stream(calls(), timeout=self._options.timeout)) as answers:
            async for found in answers:
                plan = plans.popleft()
                yield plan.finish(plan.without_call() or plan.check(found))

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""
        return self._package.signatures

    @property
    def card(self) -> Card:
        """What the package says of itself; see ``gradwire.Model.card``."""
        return self._package.card

    async def status(self) -> list[VersionStatus]:
        """Asks for the state of every version; see ``gradwire.Model.status``."""
        return await self._transport.status(timeout=self._options.timeout)

    async def close(self) -> None:
        """Lets go of the connection or the package; a second time is harmless."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<gradwire.aio.Model {self._transport.address}>"

    async def _do(self, plan: Plan) -> Any:
        answer = plan.without_call() or self._memo.find(plan)
        if answer is None:
            found = await self._transport.predict(plan.call, timeout=self._options.timeout)
            answer = plan.check(found)
            self._memo.keep(plan, found, answer)
        return plan.finish(answer)


async def _each(blocks: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(blocks, AsyncIterable):
        async for block in blocks:
            yield block
    else:
        for block in blocks:
            yield block
