"""What an earlier fit left, as the start of another: its model and its settings, from its directory or a package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import keras

from gradwire._errors import PackageError
from gradwire._package import CARD_FILE, Alias, Card, aliases_of, check_digest, find_package
from gradwire_export import MODEL_FILE, RECORD_FILE, read_network

KERAS_FILES: Final = (".keras", ".h5", ".hdf5")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A fitted model, for ``fit`` to start from.

    Attributes:
        model: with its weights and scaling, in the dtype of its package.
        source: where it is from, for people: ``"models/wing/1"``.
        digest: of the package; empty for another source.
        name: of the model.
        inputs: names of the inputs; empty where nothing but the model is known.
        outputs: names of the outputs.
        aliases: derivatives by the names that people give them.
        units: by input or output.
        trained: how it was fitted: the record's ``trained``, or the card's; empty where that is not known.
    """

    model: keras.Model
    source: str
    digest: str = ""
    name: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> dict[str, str]:
        """Where it is from, as a record has it."""
        about = {"source": self.source, "name": self.name, "digest": self.digest}
        return {key: text for key, text in about.items() if text}


def load(path: str | Path) -> Start:
    """Load a fitted model, to fit it again from its weights: to more rows, or to others.

    Args:
        path: the directory of a fit; a package, of whose directory the highest version is taken (``models/wing``,
            ``models/wing/1``); or a .keras file.

    Returns:
        The model and its settings, for ``fit``.

    Raises:
        PackageError: none of these, or a package that does not hold its network, because it was exported from something
            other than a fit or a Keras model, or by an older version.
    """
    path = Path(path)
    if path.is_file() and path.suffix in KERAS_FILES:
        return Start(model=_keras(path), source=str(path))
    if (path / RECORD_FILE).is_file():
        return _of_fit(path)
    package = find_package(path)
    check_digest(package)
    card = Card.from_json(_text(package / CARD_FILE))
    return Start(
        model=read_network(package),
        source=str(path if path.resolve() == package else path / package.name),
        digest=card.digest,
        name=card.name,
        inputs=tuple(tensor.name for tensor in card.inputs),
        outputs=tuple(tensor.name for tensor in card.outputs),
        aliases=card.aliases,
        units={tensor.name: tensor.unit for tensor in (*card.inputs, *card.outputs) if tensor.unit},
        trained=card.trained or {},
    )


def _of_fit(path: Path) -> Start:
    try:
        record = json.loads(_text(path / RECORD_FILE))
        return Start(
            model=_keras(path / MODEL_FILE),
            source=str(path),
            name=record["name"],
            inputs=tuple(tensor["name"] for tensor in record["inputs"]),
            outputs=tuple(tensor["name"] for tensor in record["outputs"]),
            aliases=aliases_of(record.get("aliases", {})),
            units=record["trained"].get("units", {}),
            trained=record["trained"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{path} is not the result of a fit ({error!r}): give a directory that a fit saved"
        ) from error


def _keras(path: Path) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)  # pyright: ignore[reportReturnType] - its stub says Any or None
    except (OSError, ValueError, TypeError) as error:
        raise PackageError(f"cannot load {path}: {error}; give a model that Keras loads in safe mode") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PackageError(
            f"cannot read {path}: {error.strerror}; give a package of gradwire export, or a fit"
        ) from error
