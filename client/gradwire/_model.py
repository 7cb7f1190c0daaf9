"""A package that answers: values and derivatives as NumPy arrays, wherever it runs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self, final

import numpy as np

from gradwire._card import Card
from gradwire._contract import CARD, CARD_ANSWER, CARD_QUERY, SERVING_DEFAULT, VALUE
from gradwire._errors import InputNameError, SignatureNotFound
from gradwire._function import function_of
from gradwire._points import bind, read_points
from gradwire._rows import check_answer, no_rows, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from gradwire._contract import Signature
    from gradwire._function import Function
    from gradwire._points import Points
    from gradwire._transport import Transport, VersionStatus

DEFAULT_TIMEOUT: Final = 60.0  # seconds: gRPC's own default waits for ever; a million rows take a few


@final
class Model:
    """A learnt function together with its derivatives.

    Made by ``gradwire.connect`` and ``gradwire.load``; in tests, ``Model(FakeTransport(…))``. It may be used
    from several threads, pickles as its address, and works in the child of a fork. As a context manager it
    closes at the end.

    The signatures and the card are asked for once. When a server has moved on to a version with other
    signatures, connect again.

    Args:
        transport: what answers.
        timeout: seconds for each call, chunks and all.
    """

    def __init__(self, transport: Transport, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._transport = transport
        self._timeout = timeout

    def value(self, /, *args: Any, **inputs: Any) -> Any:
        """Computes f(x).

        Args:
            *args: inputs by position, in the card's order. A one-number input takes any array of rank 0 or 1
                as points (rank 2 and more must end in 1); an input of n > 1 numbers takes ``(…, n)``. Among
                several inputs the batch shapes must agree; a single number (rank 0) is used for every point.
                Floats are rounded to the signature's dtype.
            **inputs: inputs by name.

        Returns:
            An array in the caller's form: ``(…)`` for a one-number output, ``(…, 1)`` where every input was
            given with its trailing 1, ``(…, *output)`` for others. Of a model with several inputs or outputs,
            ``{output: array}``. Arrays are the caller's own, in the server's dtype. No points: empty arrays,
            and nothing is sent.

        Raises:
            InputError: names, shapes or dtypes do not fit; a class for each.
            SignatureNotFound: the package has neither a signature `value` nor a card.
            GradwireError: the call failed; see ``gradwire._errors`` for the tree.
        """
        function = self._values
        points = self._points(args, inputs, function)
        found = self._run(function.signature, points.rows, function.wanted)
        values = {name: points.value(found[name]) for name in function.outputs}
        return values[function.outputs[0]] if function.is_plain else values

    def value_and_grad(self, /, *args: Any, **inputs: Any) -> tuple[Any, Any]:
        """Computes f(x) and its first derivatives in one call.

        Args:
            *args: as for ``value``.
            **inputs: as for ``value``.

        Returns:
            The values, as from ``value``, and the derivatives: of a one-number output with the form of the
            input (``(…, n)``), of others ``(…, *output, *input)``. A single number given for every point gets
            one derivative a point. Of a model with several inputs or outputs, ``grads[output][input]``.

        Raises:
            InputError: names, shapes or dtypes do not fit; a class for each.
            SignatureNotFound: the package has no card, so nothing says which tensor is which derivative.
            GradwireError: the call failed.
        """
        function = self._values_and_grads
        points = self._points(args, inputs, function)
        found = self._run(function.signature, points.rows, function.wanted)
        values = {name: points.value(found[name]) for name in function.outputs}
        grads = {
            name: {
                wrt: points.derivative(found[tensor], found[name].shape[1:], wrt)
                for wrt, tensor in by.items()
            }
            for name, by in function.derivatives.items()
        }
        if function.is_plain:
            name = function.outputs[0]
            return values[name], grads[name][function.inputs[0]]
        return values, grads

    def predict(self, signature: str, /, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Calls a signature as it stands: batch-first arrays in, all outputs out.

        Large calls are cut along the batch axis where every input and output has one; as everywhere in
        Serving, rows are taken to be independent of one another.

        Args:
            signature: its name, such as ``"serving_default"``.
            **inputs: by name, ``(batch, …)``.

        Returns:
            Every output by name, ``(batch, …)``.

        Raises:
            SignatureNotFound: the package has no such signature.
            InputError: names, shapes or dtypes do not fit; a class for each.
            GradwireError: the call failed.
        """
        found = self._signature(signature)
        return self._run(found, read_rows(inputs, found), tuple(found.outputs))

    @cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""
        return self._transport.signatures(timeout=self._timeout)

    @cached_property
    def card(self) -> Card:
        """What the package says of itself.

        Raises:
            SignatureNotFound: it has no signature `card`, so it was not made by ``gradwire export``.
            PackageError: what it holds is no card.
        """
        if CARD not in self.signatures:
            raise SignatureNotFound(
                f"{self._transport.address} has no signature 'card' to say which tensor is which derivative; "
                f"it has {sorted(self.signatures)}: call them with predict(), or export the model with gradwire"
            )
        query = {CARD_QUERY: np.zeros(1, np.int32)}
        answer = self._run(self.signatures[CARD], query, (CARD_ANSWER,))
        return Card.from_json(answer[CARD_ANSWER].reshape(-1)[0])

    def status(self) -> list[VersionStatus]:
        """Asks for the state of every version: ``(version, state, error)``, the newest first."""
        return self._transport.status(timeout=self._timeout)

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
        return _restore, (self._transport, self._timeout)

    def __repr__(self) -> str:
        return f"<gradwire.Model {self._transport.address}>"

    def _signature(self, name: str) -> Signature:
        if name not in self.signatures:
            raise SignatureNotFound(
                f"{self._transport.address} has no signature {name!r}, expected one of {sorted(self.signatures)}"
            )
        return self.signatures[name]

    @cached_property
    def _values(self) -> Function:
        """The function for ``value``: of the signature `value`, else the outputs of `serving_default`."""
        has_card = CARD in self.signatures
        if VALUE not in self.signatures and not has_card:
            raise SignatureNotFound(
                f"{self._transport.address} has neither a signature 'value' nor a card, expected one of them; "
                f"it has {sorted(self.signatures)}: call them with predict()"
            )
        signature = self._signature(VALUE if VALUE in self.signatures else SERVING_DEFAULT)
        card = self.card if has_card else None
        return function_of(signature, card, derivatives=False, address=self._transport.address)

    @cached_property
    def _values_and_grads(self) -> Function:
        """The function for ``value_and_grad``."""
        card, signature = self.card, self._signature(SERVING_DEFAULT)
        return function_of(signature, card, derivatives=True, address=self._transport.address)

    def _points(self, args: Sequence[Any], inputs: Mapping[str, Any], function: Function) -> Points:
        if len(args) > 1 and CARD not in self.signatures:
            raise InputNameError(
                f"without a card the order of {list(function.inputs)} is unknown: give the inputs by name"
            )
        return read_points(bind(args, inputs, function.inputs), function.signature.inputs)

    def _run(
        self, signature: Signature, rows: Mapping[str, NDArray[Any]], names: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        empty = no_rows(signature, rows, names)
        if empty is not None:
            return empty
        wanted = None if len(names) == len(signature.outputs) else names  # they are some of these
        found = self._transport.predict(signature, rows, outputs=wanted, timeout=self._timeout)
        return check_answer(found, signature, rows, names)


def _restore(transport: Transport, timeout: float) -> Model:
    return Model(transport, timeout=timeout)
