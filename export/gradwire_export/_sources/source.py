"""Sources on disk: a training result (docs/contract.md, "What a fit leaves behind"), a .keras file, a SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import keras

from gradwire._errors import PackageError, UsageError
from gradwire._package import (
    GRAPH_FILE,
    SERVING_DEFAULT,
    Alias,
    Domain,
    Names,
    aliases_of,
    derivative_name,
    own_names,
    std_name,
    tangent_name,
)
from gradwire_export._sources.keras_file import SUFFIXES, load_keras
from gradwire_export._sources.saved_model import SavedFunction

RECORD_FILE: Final = "fit.json"
UNCERTAINTY_FILE: Final = "uncertainty.keras"
MODEL_FILE: Final = "model.keras"
RECORD_FORMAT: Final = 1  # raised when a reader of the old format would go wrong


@dataclass(frozen=True)
class ErrorBars:
    """What a fit knows of its errors: a Keras model of the standard deviations, or the reason why there is none."""

    record: Mapping[str, Any]  # what the card says; the standard deviations by the record's names under "bars"
    model: keras.Model | None = None  # of the record's inputs; its outputs are the standard deviations by name
    names: Mapping[str, str] = field(default_factory=dict[str, str])  # name in the record -> in the package

    @property
    def entry(self) -> dict[str, Any]:
        """The card's entry, by the package's names."""
        bars = {self.std_name(name): bar for name, bar in self.record.get("bars", {}).items()}
        return {**self.record, **({"bars": bars} if bars else {})}

    def std_name(self, own: str) -> str:
        """Return the name that a package has for a standard deviation of the model."""
        stem = own.removesuffix(std_name(""))
        return std_name(self.names.get(stem, stem))

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the standard deviations of inputs by the package's names."""
        if self.model is None:
            raise ValueError("there are no error bars")
        inputs = {name: tensors[self.names.get(name, name)] for name in self.model.input}
        return {self.std_name(name): std for name, std in self.model(inputs, training=False).items()}


UNFITTED: Final = ErrorBars({"reason": "the function was not fitted by Gradwire, and nothing is known of its errors"})
UNRECORDED: Final = ErrorBars({"reason": "the fit is of a version of Gradwire that made none: train again"})


@dataclass(frozen=True)
class Source:
    """A model to export, and what is known about it."""

    model: Callable[..., Any]  # a Keras model, or a callable of one tensor for each input
    name: str | None = None
    inputs: Names | None = None  # in the package's order, or None for the model's own
    outputs: list[str] | None = None  # in the record's order, or None for the model's own
    domain: Mapping[str, Domain] = field(default_factory=dict)  # by input name
    units: Mapping[str, str] = field(default_factory=dict)  # by input or output name
    species: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of the atoms, by input name
    distances: Mapping[str, Mapping[str, Domain]] = field(default_factory=dict)  # that the samples covered, likewise
    trained: Mapping[str, Any] | None = None  # how it was fitted
    errors: Mapping[str, Any] | None = None  # of the trained function against the truth
    aliases: Mapping[str, Alias] = field(default_factory=dict[str, Alias])  # of derivatives, as people name them
    bars: ErrorBars = UNFITTED

    def renamed(self, inputs: Names | None, outputs: Names | None) -> Source:
        """Return the source with what is known of it under the names that a package gives its inputs and outputs."""
        if self.inputs is None or self.outputs is None:
            return replace(self, inputs=inputs)
        wrt = own_names(self.inputs if inputs is None else inputs)
        if len(wrt) == len(self.inputs) == 1 and not isinstance(inputs, Mapping):
            wrt = dict(zip(wrt, self.inputs, strict=True))  # a lone input may be renamed
        if set(wrt.values()) != set(self.inputs):
            raise UsageError(
                f"inputs names {list(wrt.values())}, and the fit's are {self.inputs}: name each of those once"
            )
        tensors = _new_names(wrt, own_names(self.outputs if outputs is None else outputs))
        return replace(
            self,
            inputs=list(wrt) if len(wrt) == 1 else wrt,  # the model may call a lone one by another name
            domain={tensors.get(name, name): bounds for name, bounds in self.domain.items()},
            units={tensors.get(name, name): unit for name, unit in self.units.items()},
            species={tensors.get(name, name): species for name, species in self.species.items()},
            distances={tensors.get(name, name): distances for name, distances in self.distances.items()},
            errors=self.errors and {tensors.get(name, name): error for name, error in self.errors.items()},
            aliases={
                name: replace(
                    alias, output=tensors.get(alias.output, alias.output), input=tensors.get(alias.input, alias.input)
                )
                for name, alias in self.aliases.items()
            },
            bars=replace(self.bars, names=tensors),
        )


def _new_names(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, str]:
    """Return ``{name in the record: name in the package}`` of inputs, outputs, derivatives and tangents."""
    tensors = {own: name for name, own in inputs.items()}
    for name, own in outputs.items():
        tensors |= {own: name, tangent_name(own): tangent_name(name)}
        tensors |= {derivative_name(own, x): derivative_name(name, new) for new, x in inputs.items()}
    return tensors


def read_source(
    path: Path, *, signature: str | None = None, tags: Collection[str] | None = None, unsafe_lambda: bool = False
) -> Source:
    """Read a training result's directory, a .keras file, or a SavedModel's directory."""
    if (path / GRAPH_FILE).is_file():
        return Source(SavedFunction(path, signature or SERVING_DEFAULT, tags))
    for option, value in (("signature", signature), ("tags", tags)):
        if value is not None:
            raise UsageError(f"{option} names {value!r}, and {path} is not a SavedModel: leave it out")
    if path.is_file() and path.suffix in SUFFIXES:
        return Source(load_keras(path, unsafe_lambda=unsafe_lambda))
    if not path.is_dir() or not (path / RECORD_FILE).is_file():
        raise PackageError(
            f"{path} is not a training result: expected a directory with {MODEL_FILE} and {RECORD_FILE}, "
            f"as `gradwire train` writes it, a .keras or .h5 file, or a directory with {GRAPH_FILE}"
        )
    record = _record(path / RECORD_FILE)
    try:
        tensors = [*record["inputs"], *record["outputs"]]
        return Source(
            model=load_keras(path / MODEL_FILE, unsafe_lambda=unsafe_lambda),
            name=record["name"],
            inputs=[tensor["name"] for tensor in record["inputs"]],
            outputs=[tensor["name"] for tensor in record["outputs"]],
            domain={
                tensor["name"]: Domain(tensor["domain"]["lower"], tensor["domain"]["upper"])
                for tensor in record["inputs"]
                if tensor.get("domain")
            },
            units={tensor["name"]: tensor["unit"] for tensor in tensors if tensor.get("unit")},
            species={tensor["name"]: tensor["species"] for tensor in tensors if tensor.get("species")},
            distances={
                tensor["name"]: {pair: Domain(**bounds) for pair, bounds in tensor["distances"].items()}
                for tensor in record["inputs"]
                if tensor.get("distances")
            },
            trained=record["trained"],
            errors=record["errors"],
            aliases=aliases_of(record.get("aliases", {})),
            bars=_bars(path, record, unsafe_lambda=unsafe_lambda),
        )
    except (KeyError, TypeError) as error:
        raise PackageError(f"{path / RECORD_FILE} lacks {error}: expected what `gradwire train` writes") from error


def _bars(path: Path, record: Mapping[str, Any], *, unsafe_lambda: bool) -> ErrorBars:
    if "uncertainty" not in record:
        return UNRECORDED
    file = path / UNCERTAINTY_FILE
    return ErrorBars(record["uncertainty"], load_keras(file, unsafe_lambda=unsafe_lambda) if file.is_file() else None)


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PackageError(f"cannot read {path}: {error}") from error
    if record.get("format") != RECORD_FORMAT:
        raise PackageError(
            f"{path} has format {record.get('format')!r}, expected {RECORD_FORMAT}: train again or update gradwire"
        )
    return record
