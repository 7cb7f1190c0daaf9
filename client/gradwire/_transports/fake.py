"""A transport to Python functions, for tests of code that uses a ``Model``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire._package import CARD, CARD_ANSWER, Card, Signature, signatures_of
from gradwire._transports.base import Transport
from gradwire._wire import Call, VersionStatus

Compute = Callable[..., Mapping[str, NDArray[Any]]]


@final
class FakeTransport(Transport):
    """Runs a Python function for each signature, and needs no server.

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
        functions: by signature name; each takes the inputs by name as ``(batch, …)`` arrays, and returns
            every output by name.
        card: from which the contract's signatures (``serving_default``, ``value``, ``jvp``, …) have their tensors; it
            is served as ``card``.
        signatures: tensors of further signatures, or of all where there is no card.

    Raises:
        UsageError: a function has no signature, or a signature no function.
    """

    can_run_empty: ClassVar[bool] = True

    def __init__(
        self,
        functions: Mapping[str, Compute],
        *,
        card: Card | None = None,
        signatures: Sequence[Signature] = (),
    ) -> None:
        by_contract = signatures_of(card) if card is not None else {}
        by_name = {name: by_contract[name] for name in by_contract if name in functions}
        by_name |= {signature.name: signature for signature in signatures}
        if set(by_name) != set(functions):
            raise UsageError(
                f"functions for {sorted(functions)} and signatures for {sorted(by_name)}, expected the same names: "
                "give a card (for those of the contract) or signatures"
            )
        self._functions: dict[str, Compute] = dict(functions)
        self._signatures = by_name
        if card is not None and CARD not in by_name:
            text = card.to_json().encode()

            def serve_card(query: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
                return {CARD_ANSWER: np.full(len(query), text, dtype=object)}

            self._functions[CARD] = serve_card
            self._signatures[CARD] = by_contract[CARD]

    @property
    @override
    def address(self) -> str:
        return f"a fake of {sorted(self._functions)}"

    @override
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        return self._signatures

    @override
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        outputs = self._functions[call.signature.name](**call.inputs)
        return outputs if call.outputs is None else {name: outputs[name] for name in call.outputs if name in outputs}

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        return [VersionStatus(1, "AVAILABLE", "")]

    @override
    def close(self) -> None:
        pass
