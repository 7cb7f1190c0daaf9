"""The card of a package: what it computes, where, how well, and how that is known.

It is untrusted text when it comes from a server: parse it here, escape it where it is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gradwire._errors import PackageError
from gradwire._package.alias import Alias, aliases_of

CARD_FORMAT: Final = 1  # raised when a reader of the old format would go wrong


@dataclass(frozen=True, slots=True)
class Domain:
    """The box that the samples covered: bounds for every element of a row.

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
        species: of an input ``(atoms, 3)``, the species of every atom in its order, where known.
        distances: of such an input of a model that feels neither where the atoms lie, nor how they are turned or
            numbered: the distances that the samples covered, ``{"H-O": …}`` by the two species, the shortest, the next,
            … each for itself. They are its domain then, and not the box of positions.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str | None = None
    domain: Domain | None = None
    species: tuple[str, ...] | None = None
    distances: Mapping[str, Domain] | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that a package states about itself.

    Attributes:
        name: the model's name.
        inputs: in the model's order.
        outputs: in the model's order.
        derivatives: ``{output: {input: tensor name}}``; programs find a derivative here and nowhere else.
        signatures: names of the signatures.
        second_derivatives: ``{output: {first input: {second input: tensor name}}}``, each pair once, in the inputs'
            order; empty where there is no signature `hessian`.
        aliases: first derivatives by the names that people give them, with their sign or factor.
        trained: how it was fitted (problem, loss, optimiser, samples, seed, seconds), or None.
        errors: of the trained function by tensor, ``{tensor: {"max": …, "rmse": …, "training_rmse": …, "labels": …}}``,
            and ``"against"`` what: held-out rows, or the truth of a built-in problem; or None.
        uncertainty: of the error bars, by tensor of the signature `uncertainty`, ``"bars": {tensor: {"typical": …,
            "trusted_up_to": …, "calibrated_on": …}}`` with ``"method"``, ``"about"`` and ``"against"`` what; or the
            ``"reason"`` why there are none; None in packages that say nothing.
        checks: the results of the checks at export.
        compiled: ``{"by": "xla", "batch_sizes": [rows, …], "needs": flag of a CPU server}``, or None.
        reference: points with the values and derivatives that a float64 run of the model gives there, or None.
        versions: of the software that wrote it.
        digest: ``sha256:…`` over the graph, the variables and every asset but the card; empty until written.
        files: SHA-256 of each of those files, by path in the package: what the digest is made of.
        created: UTC time in ISO 8601.
        format: version of the card's format.
    """

    name: str
    inputs: tuple[CardTensor, ...]
    outputs: tuple[CardTensor, ...]
    derivatives: Mapping[str, Mapping[str, str]]
    signatures: tuple[str, ...]
    second_derivatives: Mapping[str, Mapping[str, Mapping[str, str]]] = field(
        default_factory=dict[str, "Mapping[str, Mapping[str, str]]"]
    )
    aliases: Mapping[str, Alias] = field(default_factory=dict[str, Alias])
    trained: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None
    uncertainty: Mapping[str, Any] | None = None
    compiled: Mapping[str, Any] | None = None
    checks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reference: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    created: str = ""
    format: int = CARD_FORMAT

    def derivative_of(self, alias: str) -> str | None:
        """Return the tensor that an alias is a multiple of; None where the package does not have it."""
        meant = self.aliases.get(alias)
        return None if meant is None else self.derivatives.get(meant.output, {}).get(meant.input)

    @property
    def no_uncertainty(self) -> str:
        """Why there are no error bars, as the end of a sentence that begins with "no error bars, because"."""
        reason = dict(self.uncertainty).get("reason") if isinstance(self.uncertainty, dict) else None
        return str(reason or "the package was exported by a version of Gradwire that made none")

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return strict_json(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Read a card.

        Args:
            text: as ``to_json`` writes it, in this or an older version.

        Raises:
            PackageError: the text is not a card, or of a newer format.
        """
        try:
            raw = json.loads(text)
            if raw["format"] > CARD_FORMAT:
                raise PackageError(f"card of format {raw['format']}, expected at most {CARD_FORMAT}: update gradwire")
            fields = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
            fields["inputs"] = tuple(_tensor(entry) for entry in raw["inputs"])
            fields["outputs"] = tuple(_tensor(entry) for entry in raw["outputs"])
            fields["signatures"] = tuple(raw["signatures"])
            fields["aliases"] = aliases_of(raw.get("aliases", {}))
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PackageError(f"not a package's card: {error!r}; expected the JSON that export writes") from error


def _tensor(raw: Mapping[str, Any]) -> CardTensor:
    domain, species, distances = raw.get("domain"), raw.get("species"), raw.get("distances")
    return CardTensor(
        name=raw["name"],
        dtype=raw["dtype"],
        shape=tuple(raw["shape"]),
        unit=raw.get("unit"),
        domain=None if domain is None else _bounds(domain),
        species=None if species is None else tuple(species),
        distances=None if distances is None else {str(pair): _bounds(each) for pair, each in distances.items()},
    )


def _bounds(raw: Mapping[str, Any]) -> Domain:
    return Domain(lower=raw["lower"], upper=raw["upper"])


def strict_json(value: Any) -> str:
    """Write plain data as JSON text that every reader takes: numbers that are not finite become null.

    Args:
        value: dicts, lists, tuples, strings, numbers, bools and None.
    """
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        entries: dict[Any, Any] = {**value}
        return {str(key): _finite(entry) for key, entry in entries.items()}
    if isinstance(value, (list, tuple)):
        items: list[Any] = [*value]
        return [_finite(item) for item in items]
    return None if isinstance(value, float) and not math.isfinite(value) else value
