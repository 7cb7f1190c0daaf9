"""A served model that is not there: NumPy functions in its place, and failures on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias, final

import grpc
from numpy.typing import ArrayLike

from gradwire._errors import UsageError
from gradwire._model import Model
from gradwire._package import (
    BY_NAME,
    CARD,
    SERVING_DEFAULT,
    SIGNATURES,
    VALUE,
    Box,
    Card,
    CardTensor,
    check_names,
    second_derivative_names,
)
from gradwire._transports import FakeTransport, Transport
from gradwire._wire import Address
from gradwire.testing._functions import Function, differences, signature_functions
from gradwire.testing._recording import RecordedCall, RecordingTransport
from gradwire.testing._served import Connection, Served

Shapes: TypeAlias = "Mapping[str, int | tuple[int, ...]]"

DIFFERENCES: Final = "differences"
_TARGET: Final = "fake:8500"


@final
class FakeModel:
    """A model of NumPy functions, as if it were on a server.

    The functions take and return arrays as the methods of ``Model`` do: ``f`` what ``value`` returns, ``grad`` what
    ``grad`` returns, ``hess`` what ``hessian`` returns, for a batch of points. Every input is ``(rows,)`` if it is
    scalar, else ``(rows, *shape)``, in the order of ``inputs``. Of one input and one output the results are plain
    arrays, otherwise ``{output: …}``, ``{output: {input: …}}`` and ``{output: {input: {input: …}}}``; ``f`` may
    return a plain array wherever there is one output.

    Without ``grad`` the package has no derivatives, and without ``hess`` no second ones: what needs them is refused, as
    by a package that lacks them. What a caller gets is checked by ``Model`` as any server's response.

    Example:
        >>> log = FakeModel(np.log, lambda x: 1 / x)
        >>> log.connect().value_and_grad(2.0)
        (array(0.69314718), array(0.5))
        >>> assert log.calls == [("serving_default", 1)]

    Args:
        f: the outputs at points.
        grad: the first derivatives; ``"differences"`` for central differences of ``f``, right to some ten digits and no
            test of a tolerance below that; None for none.
        hess: the second derivatives; None for none.
        inputs: by name, the number of elements or the shape of a row; None for one scalar ``x``.
        outputs: by name, likewise; None for one scalar ``f``.
        wrt: names of the differentiated inputs; None for all. The others are parameters.
        name: of the model.
        dtype: NumPy's name of the dtype of every tensor. The functions get points in it, and results are cast to it.
        domain: for inputs by name, lower and upper bounds, as the card has them.
        signatures: names of the optional signatures (`jvp`, `vjp`, `hvp`, `hessian`) that the package has; None for all
            that the derivatives allow.

    Attributes:
        calls: of every ``Model`` connected to it, in order, failed ones included, but for those of the card.

    Raises:
        UsageError: names that a package cannot have, a domain of another shape, ``hess`` without ``grad``, or a
            signature that the derivatives do not allow.
    """

    def __init__(
        self,
        f: Function,
        grad: Function | Literal["differences"] | None = None,
        hess: Function | None = None,
        *,
        inputs: Shapes | None = None,
        outputs: Shapes | None = None,
        wrt: Sequence[str] | None = None,
        name: str = "fake",
        dtype: str = "float64",
        domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
        signatures: Sequence[str] | None = None,
    ) -> None:
        has = (grad is not None, hess is not None)
        self._card = _card(name, dtype, inputs or {"x": 1}, outputs or {"f": 1}, wrt, domain or {}, has)
        self._optional = signatures
        self._served = Served(name)
        self._has = has
        self.calls: list[RecordedCall] = []
        self.publish(f, grad, hess)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._card.name

    @property
    def rows(self) -> int:
        """The rows of all calls together."""
        return sum(call.rows or 0 for call in self.calls)

    def connect(self, **options: Any) -> Model:
        """Return a model that calls this one.

        Args:
            **options: ``timeout``, ``cast``, ``on_extrapolation`` and ``memoize``, as ``gradwire.connect`` takes them.
        """
        return Model(self.transport(), **options)

    def transport(self, address: Address | None = None) -> Transport:
        """Return a transport to it, such as for ``gradwire.aio.Model.open(gradwire.aio.InThreads(…))``.

        Args:
            address: for its version and for messages; None for the version that responds.
        """
        transport = RecordingTransport(Connection(self._served, address or Address(_TARGET, self.name)))
        transport.calls = self.calls
        return transport

    def fail(self, error: Exception | str, times: int = 1) -> None:
        """Let the next calls fail, and those after them succeed.

        A call fails as it does when the client's own retries have not helped: ``fail("UNAVAILABLE", 2)`` is a server
        that is gone for two calls, each of which raises ServerUnreachable.

        Args:
            error: what a call raises, or the name of a gRPC status code, which becomes what the client makes of it.
            times: how many calls.

        Raises:
            UsageError: there is no such code, or ``times`` is not positive.
        """
        codes = grpc.StatusCode.__members__
        if isinstance(error, str) and (error not in codes or error == grpc.StatusCode.OK.name):
            raise UsageError(f"error {error!r}, expected an exception, or a gRPC status code: {', '.join(codes)}")
        if times < 1:
            raise UsageError(f"times={times}, expected 1 or more")
        self._served.errors.extend([codes[error] if isinstance(error, str) else error] * times)

    def publish(
        self, f: Function, grad: Function | Literal["differences"] | None = None, hess: Function | None = None
    ) -> int:
        """Replace the functions by those of a new version, with the same tensors, and unload the old one.

        Args:
            f: as for the class, like the others.
            grad: given if and only if it was before.
            hess: given if and only if it was before.

        Returns:
            The number of the version, one more than before.

        Raises:
            UsageError: other derivatives are given than before.
        """
        has = (grad is not None, hess is not None)
        if has != self._has:
            raise UsageError(
                f"a version with (grad, hess) = {has} after one with {self._has}, expected the same: make another "
                "FakeModel"
            )
        gradient = differences(f, self._card.inputs, self._card.outputs) if isinstance(grad, str) else grad
        functions = signature_functions(self._card, f, gradient, hess)
        optional = [kind for kind in functions if SIGNATURES[kind].optional]
        names = optional if self._optional is None else list(self._optional)
        if set(names) - set(optional):
            raise UsageError(f"signatures {names}, expected some of {optional}: give grad, or hess, for others")
        served = [SERVING_DEFAULT, VALUE, *names]
        self._card = replace(self._card, signatures=(*served, CARD))
        transport = FakeTransport({kind: functions[kind] for kind in served}, card=self._card)
        self._served.publish(transport)
        return self.version

    @property
    def version(self) -> int:
        """The number of the version that responds."""
        return self._served.version

    @property
    def delay(self) -> float:
        """Seconds that a response takes; it may be set, and is 0 at first.

        A call whose timeout is shorter ends with DeadlineExceeded when that is over.
        """
        return self._served.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._served.delay = seconds


def _card(
    name: str,
    dtype: str,
    inputs: Shapes,
    outputs: Shapes,
    wrt: Sequence[str] | None,
    domain: Mapping[str, tuple[ArrayLike, ArrayLike]],
    has: tuple[bool, bool],
) -> Card:
    """The card of a fake that has first and second derivatives or not."""
    if has == (False, True):
        raise UsageError("hess is given without grad, expected both: second derivatives come with the first")
    if dtype not in BY_NAME:
        raise UsageError(f"dtype {dtype!r}, expected one of {sorted(BY_NAME)}")
    for role, names in (("wrt", wrt or ()), ("domain", domain)):
        if set(names) - set(inputs):
            raise UsageError(f"{role} of {sorted(set(names) - set(inputs))}, expected some of {list(inputs)}")
    differentiated = [tensor for tensor in inputs if wrt is None or tensor in wrt]
    derivatives = check_names(inputs, outputs, differentiated)
    return Card(
        name=name,
        inputs=tuple(_tensor(tensor, dtype, size, domain.get(tensor)) for tensor, size in inputs.items()),
        outputs=tuple(_tensor(tensor, dtype, size) for tensor, size in outputs.items()),
        derivatives=derivatives if has[0] else {},
        second_derivatives=second_derivative_names(outputs, differentiated) if has[1] else {},
        signatures=(),
    )


def _tensor(
    name: str, dtype: str, size: int | tuple[int, ...], bounds: tuple[ArrayLike, ArrayLike] | None = None
) -> CardTensor:
    shape = (size,) if isinstance(size, int) else tuple(size)
    return CardTensor(name, dtype, shape, domain=None if bounds is None else Box.read(name, bounds, shape).domain)
