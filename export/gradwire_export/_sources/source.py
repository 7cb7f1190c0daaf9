"""Sources on disk: a training result (docs/contract.md, "What a fit leaves behind"), a .keras file, a SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf

from gradwire._errors import PackageError, UsageError
from gradwire._package import GRAPH_FILE, SERVING_DEFAULT, Domain
from gradwire_export._reasons import reason
from gradwire_export._sources.saved_model import SavedFunction

RECORD_FILE: Final = "fit.json"
MODEL_FILE: Final = "model.keras"
RECORD_FORMAT: Final = 1  # raised when a reader of the old format would go wrong


@dataclass(frozen=True)
class Source:
    """A model to export, and what is known about it."""

    model: Callable[..., Any]  # a Keras model, or a callable of one tensor for each input
    name: str | None = None
    # Names in the model's order, or None for the model's own; specs by name for a callable.
    inputs: Sequence[str] | Mapping[str, tf.TensorSpec] | None = None
    outputs: list[str] | None = None  # as for the inputs
    domain: Mapping[str, Domain] = field(default_factory=dict)  # by input name
    units: Mapping[str, str] = field(default_factory=dict)  # by input or output name
    trained: Mapping[str, Any] | None = None  # how it was fitted
    errors: Mapping[str, Any] | None = None  # of the trained function against the truth


def read_source(path: Path, *, signature: str | None = None, unsafe_lambda: bool = False) -> Source:
    """Read a training result's directory, a .keras file, or a SavedModel's directory."""
    if (path / GRAPH_FILE).is_file():
        saved = SavedFunction(path, signature or SERVING_DEFAULT)
        return Source(saved, inputs=saved.specs)
    if signature is not None:
        raise UsageError(f"signature names {signature!r}, and {path} is not a SavedModel: leave it out")
    if path.is_file() and path.suffix == ".keras":
        return Source(_load(path, unsafe_lambda=unsafe_lambda))
    if not path.is_dir() or not (path / RECORD_FILE).is_file():
        raise PackageError(
            f"{path} is not a training result: expected a directory with {MODEL_FILE} and {RECORD_FILE}, "
            f"as `gradwire train` writes it, a .keras file, or a directory with {GRAPH_FILE}"
        )
    record = _record(path / RECORD_FILE)
    try:
        tensors = [*record["inputs"], *record["outputs"]]
        return Source(
            model=_load(path / MODEL_FILE, unsafe_lambda=unsafe_lambda),
            name=record["name"],
            inputs=[tensor["name"] for tensor in record["inputs"]],
            outputs=[tensor["name"] for tensor in record["outputs"]],
            domain={
                tensor["name"]: Domain(tensor["domain"]["lower"], tensor["domain"]["upper"])
                for tensor in record["inputs"]
                if tensor.get("domain")
            },
            units={tensor["name"]: tensor["unit"] for tensor in tensors if tensor.get("unit")},
            trained=record["trained"],
            errors=record["errors"],
        )
    except (KeyError, TypeError) as error:
        raise PackageError(f"{path / RECORD_FILE} lacks {error}: expected what `gradwire train` writes") from error


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


def _load(path: Path, *, unsafe_lambda: bool) -> keras.Model:
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not unsafe_lambda)
    except Exception as error:  # Keras's loader, and the layers' own code, raise all kinds of errors
        if "ambda" in str(error) and not unsafe_lambda:
            raise PackageError(
                f"{path} holds a Lambda layer, which is Python code of whoever wrote the file: if you trust it, run it "
                "with --unsafe-lambda (unsafe_lambda=True)"
            ) from error
        hint = (
            "; export the model from Python, where its classes are defined: gradwire_export.export(model, …)"
            if "Could not locate" in str(error)
            else ""
        )
        raise PackageError(f"cannot load {path} as a Keras model: {reason(error)}{hint}") from error
    if not isinstance(model, keras.Model):
        raise PackageError(f"{path} holds a {type(model).__name__}, expected a Keras model")
    return model
