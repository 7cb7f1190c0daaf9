"""A package that answers: values and derivatives as NumPy arrays, wherever it runs."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, final

from gradwire._model.cache import Memo
from gradwire._model.cast import DEFAULT_CASTING
from gradwire._model.info import CARD_ROWS, Package, read_card
from gradwire._model.methods import Calculus
from gradwire._model.options import DEFAULT_TIMEOUT, Options
from gradwire._model.request import Plan
from gradwire._package import CARD
from gradwire._wire import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from gradwire._model.cast import Casting
    from gradwire._model.extrapolation import Extrapolation
    from gradwire._model.methods import Method
    from gradwire._package import Card, Signature
    from gradwire._transports import Transport
    from gradwire._wire import VersionStatus


@final
class Model:
    """A learnt function together with its derivatives; each method is one call on the wire.

    Made by ``gradwire.connect`` and ``gradwire.load``; in tests, ``Model(FakeTransport(…))``. It may be used
    from several threads, pickles as its address, and works in the child of a fork. As a context manager it
    closes at the end. ``gradwire.aio`` has its asynchronous twin.

    Inputs go by position in the card's order, or by name. A one-number input takes any array of rank 0 or 1 as
    points (rank 2 and more must end in 1); an input of n > 1 numbers takes ``(…, n)``. Among several inputs the
    batch shapes must agree; a single number (rank 0) is used for every point.

    Of a model with one input and one output every method gives a plain array, of any other a dict: ``{output: …}``,
    ``{output: {input: …}}``. Arrays are the caller's own, in the server's dtype. No points: empty arrays, and nothing
    is sent.

    Every method raises InputError (a class each for names, shapes, dtypes and points outside of the domain),
    SignatureNotFound where the package lacks what it takes, and GradwireError when the call failed; the tree is in
    ``gradwire._errors``. The signatures and the card are asked for once: when a server has moved on to a version with
    other signatures, connect again.

    Args:
        transport: what answers.
        timeout: seconds for each operation: pieces, waits and repeats together.
        cast: what a cast to the server's dtype may lose: ``"exact"`` nothing, ``"round"`` what rounding a float
            loses, ``"allow"`` anything.
        on_extrapolation: about points outside of the card's domain: ``"ignore"``, ``"warn"`` or ``"raise"``.
        memoize: how many answers to keep, by the exact bytes of the question; 0 for none. ``stream`` keeps none.

    Raises:
        UsageError: an option is none of these.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        cast: Casting = DEFAULT_CASTING,
        on_extrapolation: Extrapolation = "ignore",
        memoize: int = 0,
    ) -> None:
        self._transport = transport
        self._options = Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize)
        self._memo = Memo(memoize)

    def value(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes f(x).

        Returns:
            ``(…)`` for a one-number output, ``(…, 1)`` where every input was given with its trailing 1,
            ``(…, *output)`` for others.
        """
        return self._do(self._calculus.value(args, inputs))

    def grad(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes df/dx.

        Returns:
            Of a one-number output the form of the input, ``(…, n)``; of others ``(…, *output, *input)``. A single
            number given for every point gets one derivative a point. Of several, ``{output: {input: array}}``; an
            input that the model has no derivative by is left out.
        """
        return self._do(self._calculus.grad(args, inputs))

    def value_and_grad(self, /, *args: Any, **inputs: Any) -> tuple[Any, Any]:
        """Computes f(x) and df/dx; they have the forms that ``value`` and ``grad`` give."""
        return self._do(self._calculus.value_and_grad(args, inputs))

    def jacobian(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes df/dx as a matrix a point, whatever the shapes: ``(…, m, n)``, m numbers out and n in."""
        return self._do(self._calculus.jacobian(args, inputs))

    def jvp(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes df/dx · x_dot: how f changes along a tangent.

        Args:
            *args: the inputs, then a tangent for each differentiated input, in the card's order.
            **inputs: the same by name, tangents as ``x_dot``. A tangent has its input's form; with one axis more in
                front there are k of them at every point, in one call of k·batch rows. One left out is zero.

        Returns:
            The form of ``value``, with k in front where k tangents were given.
        """
        return self._do(self._calculus.jvp(args, inputs))

    def vjp(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes f_bar · df/dx: what the inputs owe to a cotangent.

        Args:
            *args: the inputs, then a cotangent for each output, in the card's order.
            **inputs: the same by name, cotangents as ``f_bar``. A cotangent has the form of ``value``; with one axis
                more in front there are k of them at every point. One left out is zero.

        Returns:
            The form of the input, or ``{input: array}``, with k in front where k cotangents were given.
        """
        return self._do(self._calculus.vjp(args, inputs))

    def hvp(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes d²f/dx² · x_dot: how ``grad`` changes along a tangent.

        Args:
            *args: as for ``jvp``.
            **inputs: as for ``jvp``.

        Returns:
            The form of ``grad``, with k in front where k tangents were given.
        """
        return self._do(self._calculus.hvp(args, inputs))

    def hessian(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes d²f/dx².

        Returns:
            ``(…, *output, *input, *input)``, where a one-number output, and a one-number input given without a
            trailing 1, has no part. Of several, ``{output: {first: {second: array}}}``, with both orders of every
            pair.
        """
        return self._do(self._calculus.hessian(args, inputs))

    def predict(self, signature: str, /, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Calls a signature as it stands: batch-first arrays in, all outputs out.

        Large calls are cut along the batch axis where every input and output has one; as everywhere in
        Serving, rows are taken to be independent of one another.

        Args:
            signature: its name, such as ``"serving_default"``.
            **inputs: by name, ``(batch, …)``.

        Returns:
            Every output by name, ``(batch, …)``.
        """
        return self.run(signature, inputs)

    def run(
        self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Calls a signature for some of its outputs: ``predict`` for programs.

        Args:
            signature: its name.
            inputs: by name, ``(batch, …)``.
            outputs: the names wanted; None for all.

        Returns:
            The outputs wanted, by name, ``(batch, …)``.
        """
        return self._do(self._calculus.rows(signature, inputs, outputs))

    def stream(self, blocks: Iterable[Any], method: Method = "value_and_grad") -> Iterator[Any]:
        """Computes block after block, several under way at once; no more than a few are ever held.

        Args:
            blocks: each the input of a model that has one, a tuple of inputs by position, or a dict by name. They are
                taken as they are needed.
            method: what to compute, by the name of the method.

        Yields:
            What the method gives for each block, in order. The timeout is for each block, and does not run while the
            next one is made or an answer is used. Blocks that straddle a change of version are answered by either.
        """
        plans: deque[Plan] = deque()

        def calls() -> Iterator[Call]:
            for block in blocks:
                plans.append(self._calculus.block(method, block))
                yield plans[-1].call

        for found in self._transport.stream(calls(), timeout=self._options.timeout):
            plan = plans.popleft()
            yield plan.finish(plan.without_call() or plan.check(found))

    @cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""
        return self._transport.signatures(timeout=self._options.timeout)

    @property
    def card(self) -> Card:
        """What the package says of itself.

        Raises:
            SignatureNotFound: it has no signature `card`, so it was not made by ``gradwire export``.
            PackageError: what it holds is no card.
        """
        return self._package.card

    def status(self) -> list[VersionStatus]:
        """Asks for the state of every version: ``(version, state, error)``, the newest first."""
        return self._transport.status(timeout=self._options.timeout)

    def close(self) -> None:
        """Lets go of the connection or the package; a second time is harmless."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return model_of, (self._transport, self._options)

    def __repr__(self) -> str:
        return f"<gradwire.Model {self._transport.address}>"

    @cached_property
    def _package(self) -> Package:
        return Package(self._transport.address, self.signatures, self._fetch_card)

    @cached_property
    def _calculus(self) -> Calculus:
        options = self._options
        return Calculus(self._package, casting=options.cast, on_extrapolation=options.on_extrapolation)

    def _fetch_card(self) -> Card:
        signature, timeout = self.signatures[CARD], self._options.timeout
        return read_card(self._transport.predict(signature, CARD_ROWS, timeout=timeout))

    def _do(self, plan: Plan) -> Any:
        answer = plan.without_call() or self._memo.find(plan)
        if answer is None:
            call, timeout = plan.call, self._options.timeout
            found = self._transport.predict(call.signature, call.inputs, outputs=call.outputs, timeout=timeout)
            answer = plan.check(found)
            self._memo.keep(plan, found, answer)
        return plan.finish(answer)


def model_of(transport: Transport, options: Options) -> Model:
    """Makes a model with options that lie ready."""
    return Model(
        transport,
        timeout=options.timeout,
        cast=options.cast,
        on_extrapolation=options.on_extrapolation,
        memoize=options.memoize,
    )
