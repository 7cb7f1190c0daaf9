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
from gradwire._package.dtypes import BY_NAME
from gradwire._package.forms import (
    Form,
    anything,
    bound,
    fault,
    finite,
    mapping_of,
    optional,
    require_plain,
    row_shape,
    text,
    tuple_of,
    whole,
)
from gradwire._package.solve import Solve, solves_of

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

    @property
    def least_row_shape(self) -> tuple[int, ...]:
        """The shape of the smallest row: with 1 for each size that is open."""
        return tuple(size or 1 for size in self.shape)


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
        solves: the signatures that solve for an input, and what each of them solves; see docs/solve.md.
        trained: how it was fitted (problem, loss, optimiser, samples, seed, seconds), or None.
        errors: of the trained function by tensor, ``{tensor: {"max": …, "rmse": …, "training_rmse": …, "labels": …}}``,
            and ``"against"`` what: held-out rows, or the truth of a built-in problem; or None.
        uncertainty: of the error bars, by tensor of the signature `uncertainty`, ``"bars": {tensor: {"typical": …,
            "trusted_up_to": …, "calibrated_on": …}}`` with ``"method"``, ``"about"`` and ``"against"`` what; or the
            ``"reason"`` why there are none; None in packages that say nothing.
        jacobian: how derivatives are computed: ``"sweeps": {signature: {"strategy": …, "reverse": how many, "forward":
            …}}``, and ``"structure": {output: {input: {"nonzeros": …, "entries": …, "rows": by output element the input
            elements that it may depend on, or None where they are too many}}}`` of the pairs that have entries which
            are zero whatever the inputs; None in packages that say nothing.
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
    solves: Mapping[str, Solve] = field(default_factory=dict[str, Solve])
    trained: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None
    uncertainty: Mapping[str, Any] | None = None
    compiled: Mapping[str, Any] | None = None
    jacobian: Mapping[str, Any] | None = None
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
        except (ValueError, RecursionError) as error:
            raise PackageError(f"not a package's card: {error}; expected the JSON that export writes") from None
        fields = mapping_of(anything)(raw, "it")
        require_plain(raw, "it")
        if missing := [name for name in _REQUIRED if name not in fields]:
            raise PackageError(f"not a package's card: it has no {missing}; expected the JSON that export writes")
        if whole(fields["format"], "format") > CARD_FORMAT:
            raise PackageError(f"card of format {fields['format']}, expected at most {CARD_FORMAT}: update gradwire")
        card = cls(**{name: form(fields[name], name) for name, form in _FORMS.items() if name in fields})
        for tensors in (card.inputs, card.outputs):
            if len({tensor.name for tensor in tensors}) < len(tensors):
                raise fault("a name", [tensor.name for tensor in tensors], "each once")
        _require_tensors(card)
        return card


def _require_tensors(card: Card) -> None:
    """Raise PackageError where derivatives are of outputs, or by inputs, that there are not."""
    inputs, outputs = ({tensor.name for tensor in tensors} for tensors in (card.inputs, card.outputs))
    seconds = [by_input for of in card.second_derivatives.values() for by_input in (of, *of.values())]
    if strange := {*card.derivatives, *card.second_derivatives} - outputs:
        raise fault("a derivative", sorted(strange), f"one of an output, {sorted(outputs)}")
    if strange := {wrt for by_input in (*card.derivatives.values(), *seconds) for wrt in by_input} - inputs:
        raise fault("a derivative", sorted(strange), f"one with respect to an input, {sorted(inputs)}")
    for name, solve in card.solves.items():
        of = {solve.output, *inputs} - {solve.input}
        if solve.input not in inputs or solve.output not in outputs or solve.derivatives.keys() - of:
            raise fault(f"solve {name!r}", [solve.input, solve.output, *solve.derivatives], "inputs and an output")


def _tensor(value: Any, what: str) -> CardTensor:
    raw = mapping_of(anything)(value, what)
    fields = {name: form(raw.get(name), f"{name} of {what}") for name, form in _TENSOR_FORMS.items()}
    if fields["dtype"] not in BY_NAME:
        raise fault(f"dtype of {what}", fields["dtype"], f"one of {', '.join(BY_NAME)}")
    return CardTensor(**fields)


def _domain(value: Any, what: str) -> Domain:
    bounds = mapping_of(anything)(value, what)
    return Domain(*(bound(bounds.get(end), f"{end} {what}") for end in ("lower", "upper")))


def _aliases(value: Any, what: str) -> dict[str, Alias]:
    entries = mapping_of(mapping_of(anything))(value, what)
    for name, entry in entries.items():
        for key, form in _ALIAS_FORMS.items():
            if key in entry or form is text:
                form(entry.get(key), f"{key} of alias {name!r}")
    return aliases_of(entries)


def _solves(value: Any, what: str) -> dict[str, Solve]:
    entries = mapping_of(mapping_of(anything))(value, what)
    for name, entry in entries.items():
        for key, form in _SOLVE_FORMS.items():
            form(entry.get(key), f"{key} of solve {name!r}")
    return solves_of(entries)


_REQUIRED: Final = ("name", "inputs", "outputs", "derivatives", "signatures", "format")
_OBJECT: Final = mapping_of(anything)
_SOLVE_FORMS: Final[Mapping[str, Form]] = {
    "input": text,
    "output": text,
    "derivatives": mapping_of(text),
    "tolerance": finite,
}
_TENSOR_FORMS: Final[Mapping[str, Form]] = {
    "name": text,
    "dtype": text,
    "shape": row_shape,
    "unit": optional(text),
    "domain": optional(_domain),
    "species": optional(tuple_of(text)),
    "distances": optional(mapping_of(_domain)),
}
_ALIAS_FORMS: Final[Mapping[str, Form]] = {"output": text, "input": text, "factor": finite}
_FORMS: Final[Mapping[str, Form]] = {
    "name": text,
    "inputs": tuple_of(_tensor),
    "outputs": tuple_of(_tensor),
    "derivatives": mapping_of(mapping_of(text)),
    "signatures": tuple_of(text),
    "second_derivatives": mapping_of(mapping_of(mapping_of(text))),
    "aliases": _aliases,
    "solves": _solves,
    "trained": optional(_OBJECT),
    "errors": optional(_OBJECT),
    "uncertainty": optional(_OBJECT),
    "compiled": optional(_OBJECT),
    "jacobian": optional(_OBJECT),
    "checks": _OBJECT,
    "reference": optional(_OBJECT),
    "versions": _OBJECT,
    "digest": text,
    "files": _OBJECT,
    "created": text,
    "format": whole,
}


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
