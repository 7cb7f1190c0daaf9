"""A transport that answers from Python functions, for tests of code that uses a ``Model``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from gradwire._errors import UsageError
from gradwire._package import CARD, CARD_ANSWER, signatures_of
from gradwire._transports.base import Transport
from gradwire._wire import VersionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._package import Card, Signature

    Function = Callable[..., Mapping[str, NDArray[Any]]]


@final
class FakeTransport(Transport):
    """Answers from a Python function a signature, and needs no server.

    Example:
        >>> card = gradwire.Card(
        ...     name="log",
        ...     inputs=(gradwire.CardTensor("x", "float64", (1,)),),
        ...     outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        ...     derivatives={"f": {"x": "df_dx"}},
        ...     signatures=("serving_default",),
        ... )
        >>> both = lambda x: {"f": np.log(x), "df_dx": 1 / x}
        >>> log = gradwire.Model(gradwire.FakeTransport({"serving_default": both}, card=card))
        >>> log.value_and_grad(2.0)
        (array(0.69314718), array(0.5))

    Args:
        functions: by signature name; each takes the inputs by name as ``(batch, …)`` arrays, and gives every
            output by name.
        card: gives the contract's signatures (``serving_default``, ``value``, ``jvp``, …) their tensors, and
            answers ``card``.
        signatures: tensors of further signatures, or of all where there is no card.

    Raises:
        UsageError: a function has no signature, or a signature no function.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        *,
        card: Card | None = None,
        signatures: Sequence[Signature] = (),
    ) -> None:
        by_contract = signatures_of(card) if card is not None else {}
        given = {signature.name: signature for signature in signatures}
        known = given | {name: by_contract[name] for name in by_contract if name in functions and name not in given}
        if set(known) != set(functions):
            raise UsageError(
                f"functions for {sorted(functions)} and signatures for {sorted(known)}, expected the same names: "
                "give a card (for those of the contract) or signatures"
            )
        self._functions: dict[str, Function] = dict(functions)
        self._signatures = known
        if card is not None and CARD not in known:
            text = card.to_json().encode()

            def answer_card(query: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
                return {CARD_ANSWER: np.full(len(query), text, dtype=object)}

            self._functions[CARD] = answer_card
            self._signatures[CARD] = by_contract[CARD]

    @property
    def address(self) -> str:
        """What people see."""
        return f"a fake of {sorted(self._functions)}"

    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Gives the signatures; see ``Transport``."""
        return self._signatures

    def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout: float,
    ) -> Mapping[str, NDArray[Any]]:
        """Calls the signature's function; see ``Transport``."""
        found = self._functions[signature.name](**inputs)
        return found if outputs is None else {name: found[name] for name in outputs if name in found}

    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Says that version 1 is available."""
        return [VersionStatus(1, "AVAILABLE", "")]

    def close(self) -> None:
        """Holds nothing."""
