"""The card of a package: what it computes, where, how well, and how that is known.

It is untrusted text when it comes from a server: parse it here, escape it where it is shown.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gradwire._errors import PackageError
from gradwire._package.strict_json import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD_FORMAT: Final = 1  # raised when a reader of the old format would go wrong


@dataclass(frozen=True, slots=True)
class Domain:
    """The box that the samples covered: bounds for every number of a row.

    Attributes:
        lower: smallest values, nested lists of the input's row shape.
        upper: largest values, the same shape.
    """

    lower: Any
    upper: Any


@dataclass(frozen=True, slots=True)
class CardTensor:
    """An input or an output on the card.

    Attributes:
        name: name in every signature.
        dtype: NumPy's name of the dtype.
        shape: row shape, without the batch axis.
        unit: physical unit; ``"1"`` for a pure number; None where unknown.
        domain: of an input, where known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str | None = None
    domain: Domain | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that a package says of itself.

    Attributes:
        name: the model's name.
        inputs: in the model's order.
        outputs: in the model's order.
        derivatives: ``{output: {input: tensor name}}``; the only right way to find a derivative.
        signatures: names of the signatures.
        second_derivatives: ``{output: {first input: {second input: tensor name}}}``, each pair once, in the inputs'
            order; empty where there is no signature `hessian`.
        trained: how it was fitted (problem, loss, optimiser, samples, seed, seconds), or None.
        errors: of the trained function against the truth, ``{tensor: {"max": …, "rmse": …}}`` and on what, or None.
        checks: what the checks at export found.
        compiled: ``{"by": "xla", "batch_sizes": [rows, …], "needs": flag of a CPU server}``, or None.
        reference: points with the values and derivatives that a float64 run of the model gives there, or None.
        versions: of the software that made it.
        digest: ``sha256:…`` over the graph, the variables and every asset but the card; empty until written.
        files: SHA-256 of each of those files, by path in the package: what the digest is made of.
        created: UTC time in ISO 8601.
        format: of the card itself.
    """

    name: str
    inputs: tuple[CardTensor, ...]
    outputs: tuple[CardTensor, ...]
    derivatives: Mapping[str, Mapping[str, str]]
    signatures: tuple[str, ...]
    second_derivatives: Mapping[str, Mapping[str, Mapping[str, str]]] = field(
        default_factory=dict[str, "Mapping[str, Mapping[str, str]]"]
    )
    trained: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None
    compiled: Mapping[str, Any] | None = None
    checks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reference: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    created: str = ""
    format: int = CARD_FORMAT

    def to_json(self) -> str:
        """Gives the card as JSON text (strict: numbers that are not finite become null)."""
        return strict_json(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Reads a card.

        Args:
            text: what ``to_json`` wrote, by this or an older version.

        Raises:
            PackageError: the text is not a card, or of a newer format.
        """
        try:
            raw = json.loads(text)
            if raw["format"] > CARD_FORMAT:
                raise PackageError(f"card of format {raw['format']}, expected at most {CARD_FORMAT}: update gradwire")
            known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
            known["inputs"] = tuple(_tensor(entry) for entry in raw["inputs"])
            known["outputs"] = tuple(_tensor(entry) for entry in raw["outputs"])
            known["signatures"] = tuple(raw["signatures"])
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PackageError(f"not a package's card: {error!r}; expected the JSON that export writes") from error


def _tensor(raw: Mapping[str, Any]) -> CardTensor:
    domain = raw.get("domain")
    return CardTensor(
        name=raw["name"],
        dtype=raw["dtype"],
        shape=tuple(raw["shape"]),
        unit=raw.get("unit"),
        domain=None if domain is None else Domain(lower=domain["lower"], upper=domain["upper"]),
    )
