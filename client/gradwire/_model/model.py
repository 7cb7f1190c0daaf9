"""A package that answers: values and derivatives as NumPy arrays, wherever it runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Self, final

from numpy.typing import NDArray

from gradwire._model.cache import ResponseCache
from gradwire._model.cast import DEFAULT_CASTING, Casting
from gradwire._model.extrapolation import Extrapolation
from gradwire._model.info import PackageInfo, card_call, read_card
from gradwire._model.methods import Method, RequestBuilder
from gradwire._model.options import DEFAULT_TIMEOUT, Options
from gradwire._model.request import PreparedRequest
from gradwire._model.selection import Names
from gradwire._model.solution import Solution
from gradwire._package import Card, Signature
from gradwire._transports import Transport
from gradwire._wire import Call, VersionStatus


@final
class Model:
    """A surrogate together with its derivatives; each method is one call of the package.

    Made by ``gradwire.connect`` and ``gradwire.load``; in tests, by ``gradwire.testing.FakeModel``. It may be used from
    several threads, pickles as its address, and works in the child of a fork. As a context manager it closes at the
    end. ``gradwire.aio`` has its asynchronous twin.

    Inputs go by position in the card's order, or by name. A scalar input takes any array of rank 0 or 1 as points (rank
    2 and more must end in 1); an input of n > 1 elements takes ``(…, n)``. Among several inputs the batch shapes must
    agree; a single value (rank 0) is used for every point.

    Of a model with one input and one output every method returns a plain array, of any other a dict: ``{output: …}``,
    ``{output: {input: …}}``. Arrays are the caller's own, in the server's dtype. No points: empty arrays, and nothing
    is sent.

    ``of`` and ``wrt`` name the outputs, and the inputs with respect to which they are differentiated, that a call is
    about: the server sends, and computes, no others. A list stands for a level of the result, a single name for none:
    ``grad(…, wrt=["spot", "vol"], of="price")`` is ``{"spot": …, "vol": …}``. ``out`` takes arrays for the result, in
    its form, shapes and dtype, and is returned; after an error their values are undefined. Inputs that are called
    ``of``, ``wrt`` or ``out`` go by position.

    Every method raises InputError (a class each for names, shapes, dtypes and points outside of the domain),
    SignatureNotFound where the package lacks what it takes, and GradwireError when the call failed; the tree is in
    ``gradwire._errors``. The signatures and the card are requested once: when a server has moved on to a version with
    other signatures, connect again.

    Args:
        transport: makes the calls.
        timeout: seconds for each operation: chunks, waits and retries together.
        cast: what a cast to the server's dtype may lose: ``"exact"`` nothing, ``"round"`` what rounding a float loses,
            ``"allow"`` anything.
        on_extrapolation: about points outside of the card's domain, or far from the samples by their error bars, which
            costs a call of them more: ``"ignore"``, ``"warn"`` or ``"raise"``.
        memoize: how many responses to cache, keyed by the exact request bytes; 0 for none. ``stream`` caches none.

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
        self._set_up(transport, Options(timeout=timeout, cast=cast, on_extrapolation=on_extrapolation, memoize=memoize))

    def value(self, /, *args: Any, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute f(x).

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            ``(…)`` for a scalar output, ``(…, 1)`` where every input was given with its trailing 1, ``(…, *output)``
            for others.
        """
        return self._run("value", args, inputs, of=of, out=out)

    def grad(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute df/dx.

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.
            wrt: the inputs to differentiate with respect to, a name or a list of names; None for all.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            Of a scalar output the form of the input, ``(…, n)``; of others ``(…, *output, *input)``. A single value
            given for every point gets one derivative a point. Of several inputs or outputs,
            ``{output: {input: array}}``, without the inputs with respect to which the model has no derivative.
        """
        return self._run("grad", args, inputs, wrt=wrt, of=of, out=out)

    def derivative(self, name: str, /, *args: Any, **inputs: Any) -> Any:
        """Compute one first derivative, by the name that people have for it: ``model.derivative("forces", x)``.

        Args:
            name: an alias of the card, which has a sign or factor of its own, or a tensor's name, such as ``"df_dx"``.
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.

        Returns:
            The array that ``grad`` has for it, times the alias's factor.
        """
        return self._execute(self._requests.build_derivative(name, args, inputs))

    def value_and_grad(
        self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any
    ) -> tuple[Any, Any]:
        """Compute f(x) and df/dx in one call.

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.
            wrt: the inputs to differentiate with respect to, a name or a list of names; None for all.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            What ``value`` and ``grad`` return.
        """
        return self._run("value_and_grad", args, inputs, wrt=wrt, of=of, out=out)

    def jacobian(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute df/dx as a matrix a point, whatever the shapes.

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.
            wrt: the inputs to differentiate with respect to, a name or a list of names; None for all.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            ``(…, m, n)`` for m elements of the output and n of the input; of several, ``{output: {input: array}}``.
        """
        return self._run("jacobian", args, inputs, wrt=wrt, of=of, out=out)

    def jvp(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute the Jacobian-vector product df/dx · x_dot: how f changes along a tangent.

        Args:
            *args: the inputs, then a tangent for each differentiated input, in the card's order. A tangent has its
                input's form; with one axis more in front there are k of them at every point, in one call of k·batch
                rows.
            **inputs: the same by name, tangents as ``x_dot``. One left out is zero.
            wrt: the inputs that have a tangent, a name or a list of names; None for all that are differentiated.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            The form of ``value``, with k in front where k tangents were given.
        """
        return self._run("jvp", args, inputs, wrt=wrt, of=of, out=out)

    def vjp(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute the vector-Jacobian product f_bar · df/dx: the gradient of f weighted by a cotangent.

        Args:
            *args: the inputs, then a cotangent for each output, in the card's order. A cotangent has the form of
                ``value``; with one axis more in front there are k of them at every point, in one call of k·batch rows.
            **inputs: the same by name, cotangents as ``f_bar``. One left out is zero.
            wrt: the inputs to differentiate with respect to, a name or a list of names; None for all.
            of: the outputs that have a cotangent, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            The form of the input, or ``{input: array}``, with k in front where k cotangents were given.
        """
        return self._run("vjp", args, inputs, wrt=wrt, of=of, out=out)

    def hvp(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute the Hessian-vector product d²f/dx² · x_dot: how ``grad`` changes along a tangent.

        Args:
            *args: the inputs, then a tangent for each differentiated input, in the card's order. A tangent has its
                input's form; with one axis more in front there are k of them at every point, in one call of k·batch
                rows.
            **inputs: the same by name, tangents as ``x_dot``. One left out is zero.
            wrt: the inputs that have a tangent, and with respect to which results are: their block of the Hessian.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            The form of ``grad``, with k in front where k tangents were given.
        """
        return self._run("hvp", args, inputs, wrt=wrt, of=of, out=out)

    def hessian(self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any) -> Any:
        """Compute d²f/dx².

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.
            wrt: the inputs to differentiate with respect to, a name or a list of names; None for all.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            ``(…, *output, *input, *input)``, where a scalar output, and a scalar input given without a trailing 1, has
            no axis. Of several, ``{output: {first: {second: array}}}``, with both orders of every pair.
        """
        return self._run("hessian", args, inputs, wrt=wrt, of=of, out=out)

    def uncertainty(
        self, /, *args: Any, wrt: Names = None, of: Names = None, out: Any = None, **inputs: Any
    ) -> tuple[Any, Any]:
        """Compute how sure f(x) and df/dx are: the standard deviations of the learnt function around the true one.

        ``f ± 1.96 f_std`` is meant to hold the true function, not a further noisy label, in 95 % of cases.

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.
            wrt: the inputs to differentiate with respect to, a name or a list of names; None for all.
            of: the outputs to return, a name or a list of names; None for all.
            out: arrays to write the result to, in the very form of the result.

        Returns:
            The standard deviations of what ``value`` and ``grad`` return, in the same forms.
        """
        return self._run("uncertainty", args, inputs, wrt=wrt, of=of, out=out)

    def solve(self, /, **inputs: Any) -> Solution:
        """Solve f(x) = target for one input, inside of its domain: implied volatility from a price, for instance.

        ``model.solve(price=12.0, spot=100.0, maturity=1.0)`` solves for the input that is missing, by the signature
        that ``gradwire export --solve`` wrote for it. A row that has no solution, or whose target the ends of the
        domain do not bracket and no Newton step finds, has ``converged`` False and NaN: nothing is clipped. Of several
        solutions it is any.

        Args:
            **inputs: the target by the name of the output, and every other input by its own: ``(…)`` for a scalar
                input, ``(…, n)`` for one of n elements.

        Returns:
            The input, its derivatives with respect to the target and the other inputs (by the implicit function
            theorem; infinite or NaN where df/dx is 0), the residual f(x) - target, and which rows are solved.
        """
        return self._run("solve", (), inputs)

    def is_trusted(self, /, *args: Any, **inputs: Any) -> Any:
        """Tell which points are near enough to the samples: inside of the domain, and with error bars as there.

        Trusted is a bar that is no larger than those of 99 % of the fitted rows (the card's ``trusted_up_to``). So a
        hole between the samples is seen, which the domain, a box, does not show. It does not say how good the model
        is there: that is what the bars are for. Without bars, atoms are trusted by their distances alone.

        Args:
            *args: the inputs in the card's order: ``(…)`` for a scalar input, ``(…, n)`` for one of n elements.
            **inputs: the same by name.

        Returns:
            ``(…)``, bool.
        """
        return self._execute(self._requests.build_trust(args, inputs))

    def predict(self, signature: str, /, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Call a signature as it is: batch-first arrays in, all outputs out.

        Large calls are split along the batch axis where every input and output has one; as everywhere in Serving, rows
        are taken to be independent of one another.

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
        """Call a signature for some of its outputs: ``predict`` for programs.

        Args:
            signature: its name.
            inputs: by name, ``(batch, …)``.
            outputs: names of the outputs to return; None for all.

        Returns:
            Those outputs by name, ``(batch, …)``.
        """
        return self._execute(self._requests.build_rows(signature, inputs, outputs))

    def stream(
        self, blocks: Iterable[Any], method: Method = "value_and_grad", *, wrt: Names = None, of: Names = None
    ) -> Iterator[Any]:
        """Compute block after block, several under way at once; no more than a few are ever held.

        Args:
            blocks: each the input of a model that has one, a tuple of inputs by position, or a dict by name. They are
                taken as they are needed.
            method: what to compute, by the name of the method.
            wrt: as the method has it.
            of: as the method has it.

        Yields:
            What the method returns for each block, in order. The timeout is for each block, and does not run while the
            next one is made or a result is used. Blocks that straddle a change of version come from either.
        """
        requests: deque[PreparedRequest] = deque()

        def calls() -> Iterator[Call]:
            for block in blocks:
                request = self._requests.build_block(method, block, of=of, wrt=wrt)
                if request.bars is not None:
                    self._execute(request.bars)
                requests.append(request)
                yield request.call

        for response in self._transport.stream(calls(), timeout=self._options.timeout):
            request = requests.popleft()
            yield request.unpack(request.empty_response() or request.check(response))

    @cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""
        return self._transport.signatures(timeout=self._options.timeout)

    @property
    def card(self) -> Card:
        """What the package states about itself.

        Raises:
            SignatureNotFound: it has no signature `card`, so it was not made by ``gradwire export``.
            PackageError: what it holds is not a card.
        """
        return self._package.card

    @property
    def version(self) -> int | None:
        """The version that every call goes to; None where the server chooses it, or it has no number."""
        return self._transport.version

    def pinned(self) -> Model:
        """Return the model of the version that responds now, for many calls that belong together.

        Without it, each call is of whichever version is newest then. The version is the model's own where it was given
        one, and in process. It has a connection of its own, to be closed.

        Raises:
            ModelNotFound: at a later call, when the server has unloaded that version.
        """
        transport = self._transport.pinned(timeout=self._options.timeout)
        return self if transport is self._transport else model_of(transport, self._options)

    def status(self) -> list[VersionStatus]:
        """Request the state of every version: ``(version, state, error)``, the newest first."""
        return self._transport.status(timeout=self._options.timeout)

    def close(self) -> None:
        """Release the connection or the package; a second time is harmless."""
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

    def _set_up(self, transport: Transport, options: Options) -> None:
        self._transport = transport
        self._options = options
        self._cache = ResponseCache(options.memoize)

    @cached_property
    def _package(self) -> PackageInfo:
        return PackageInfo(self._transport.address, self.signatures, self._fetch_card)

    @cached_property
    def _requests(self) -> RequestBuilder:
        return RequestBuilder(self._package, self._options)

    def _fetch_card(self) -> Card:
        call = card_call(self.signatures)
        return read_card(self._transport.predict(call, timeout=self._options.timeout))

    def _run(self, method: Method, args: Sequence[Any], inputs: Mapping[str, Any], **choice: Any) -> Any:
        return self._execute(self._requests.build(method, args, inputs, **choice))

    def _execute(self, request: PreparedRequest) -> Any:
        if request.bars is not None:
            self._execute(request.bars)
        arrays = request.empty_response()
        if arrays is None:
            key = self._cache.key(request)
            cached = None if key is None else self._cache.get(key)
            response = cached or self._transport.predict(request.call, timeout=self._options.timeout)
            arrays = request.check(response)
            if cached is None and key is not None:
                self._cache.put(key, response, arrays)
        return request.unpack(arrays)


def model_of(transport: Transport, options: Options) -> Model:
    """Make a model with options that are checked already; pickles name this function."""
    model = Model.__new__(Model)
    model._set_up(transport, options)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a second constructor
    return model


def package_of(model: Model) -> PackageInfo:
    """Return what is known of a model's package: for the bridges, the batch runner and the command."""
    return model._package  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a part of Model
