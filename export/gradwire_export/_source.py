"""Reads what training left on disk; the format is docs/contract.md, "What a fit leaves behind"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import keras

from gradwire._card import Domain
from gradwire._errors import PackageError

RECORD_FILE: Final = "fit.json"
MODEL_FILE: Final = "model.keras"
RECORD_FORMAT: Final = 1  # raised when a reader of the old format would go wrong


@dataclass(frozen=True)
class Source:
    """A model from disk, and what is known of it.

    Attributes:
        model: the Keras model.
        name: the model's name, or None.
        inputs: names, in the model's order, or None for the model's own.
        outputs: likewise.
        domain: by input name.
        units: by input or output name.
        trained: how it was fitted, or None.
        errors: of the trained function against the truth, or None.
    """

    model: keras.Model
    name: str | None = None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    domain: Mapping[str, Domain] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None


def read_source(path: Path) -> Source:
    """Reads a training result's directory, or a .keras file.

    Args:
        path: a directory with model.keras and fit.json, or a file ending in .keras.

    Raises:
        PackageError: it is neither, or cannot be read.
    """
    if path.is_file() and path.suffix == ".keras":
        return Source(_load(path))
    if not path.is_dir() or not (path / RECORD_FILE).is_file():
        raise PackageError(
            f"{path} is not a training result: expected a directory with {MODEL_FILE} and {RECORD_FILE}, "
            f"as `gradwire train` writes it, or a .keras file"
        )
    record = _record(path / RECORD_FILE)
    try:
        tensors = [*record["inputs"], *record["outputs"]]
        return Source(
            model=_load(path / MODEL_FILE),
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
        raise PackageError(
            f"{path / RECORD_FILE} lacks {error}: expected what `gradwire train` writes"
        ) from error


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


def _load(path: Path) -> keras.Model:
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PackageError(f"cannot load {path} as a Keras model: {error}") from error
    if not isinstance(model, keras.Model):
        raise PackageError(f"{path} holds a {type(model).__name__}, expected a Keras model")
    return model
