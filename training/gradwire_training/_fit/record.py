"""The directory that a fit is saved in: everything to export it, to judge it, and to repeat it."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import PackageError
from gradwire._package import StagedPath, aliases_of, require_writable_directory, strict_json
from gradwire_export import MODEL_FILE, RECORD_FILE, RECORD_FORMAT, UNCERTAINTY_FILE
from gradwire_training import problems
from gradwire_training._data import Provenance, Samples
from gradwire_training._models import with_dtype
from gradwire_training._objective import Loss, losses
from gradwire_training._progress import Arrays

STAGES: Final = ("first_stage", "second_stage")  # the networks of a model that is a sum of two
HISTORY: Final = "history.csv"
SAMPLES: Final = "samples.npz"
START: Final = "start.npz"
# Prefixes of columns: "x:spot" and "dydx:price:spot" are those of the samples, "pins.x:spot" those of the pins.
PINS: Final = "pins."
HELD_OUT: Final = "held_out."


def write(
    path: Path,
    record: Mapping[str, Any],
    *,
    model: keras.Model,
    history: Mapping[str, NDArray[Any]],
    rows: Mapping[str, Samples | None],
    start: Sequence[NDArray[Any]],
    stds: keras.Model | None,
) -> Path:
    """Write a fit as a directory (see ``Result.save``); ``rows`` are samples by the prefix of their columns."""
    columns = {
        prefix + name: column
        for prefix, samples in rows.items()
        if samples is not None
        for name, column in samples.arrays()
    }
    with StagedPath(path, is_directory=True, marker=RECORD_FILE) as staged:
        directory = staged.path
        model.save(directory / MODEL_FILE)
        if stds is not None:
            stds.save(directory / UNCERTAINTY_FILE)
        with (directory / HISTORY).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(history)
            writer.writerows(zip(*(column.tolist() for column in history.values()), strict=True))
        np.savez(directory / SAMPLES, **columns, allow_pickle=False)
        np.savez(directory / START, *start, allow_pickle=False)
        (directory / RECORD_FILE).write_text(strict_json(record), encoding="utf-8")
    return path


def require_target(path: str | Path) -> None:
    """Raise if a result could not be saved in a place; better before a long fit than after it.

    Args:
        path: the directory that ``Result.save`` is to write.

    Raises:
        PackageError: something else is there, or it cannot be written.
    """
    require_writable_directory(Path(path), marker=RECORD_FILE)


@final
@dataclass(frozen=True, slots=True)
class SavedFit:
    """What is read from the directory of a fit; the model has its initial weights and their precision."""

    model: keras.Model
    samples: Samples  # of a stream, some of its rows
    validation: Samples | None
    loss: Loss
    trained: dict[str, Any]


def read(path: str | Path) -> SavedFit:
    """Read the directory of a fit."""
    path = Path(path)
    try:
        record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        if record["format"] > RECORD_FORMAT:
            raise PackageError(
                f"{path / RECORD_FILE} has format {record['format']}, expected at most {RECORD_FORMAT}: update gradwire"
            )
        trained = record["trained"]
        columns, start = _arrays(path / SAMPLES), list(_arrays(path / START).values())
        model = cast("keras.Model", keras.models.load_model(path / MODEL_FILE, compile=False, safe_mode=True))
        loss = trained["loss"]
        pins = None if loss["pins"] is None else Samples.from_arrays(columns, prefix=PINS)
        return SavedFit(
            model=_started(model.get_layer(STAGES[0]) if trained.get("stages", 1) > 1 else model, start),
            samples=Samples.from_arrays(
                columns,
                weight_column=(trained["samples"].get("weights") or {}).get("column"),
                units=trained.get("units", {}),
                species=trained.get("species", {}),
                aliases=aliases_of(record.get("aliases", {})),
                provenance=_provenance(trained),
            ),
            validation=Samples.from_arrays(columns, prefix=HELD_OUT)
            if any(name.startswith(HELD_OUT) for name in columns)
            else None,
            loss=losses.from_settings(loss, pins),
            trained=trained,
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise PackageError(
            f"{path} is not the result of a fit ({error!r}): give a directory that a fit saved"
        ) from error


def _arrays(path: Path) -> Arrays:
    # NumPy leaves a file open that it cannot read: it is opened here.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _started(model: keras.Model, start: list[NDArray[Any]]) -> keras.Model:
    """Return the model with its initial weights, in the precision that it had then."""
    floats = {str(weight.dtype) for weight in start if weight.dtype.kind == "f"}
    model = with_dtype(model, "float64" if "float64" in floats else "float32")
    model.set_weights(start)
    return model


def _provenance(trained: dict[str, Any]) -> Provenance | None:
    if not problems.known(trained["problem"]):
        return None
    truth, samples = problems.get(trained["problem"]).truth, trained["samples"]
    return Provenance(truth=truth, spacing=samples["spacing"], seed=samples["seed"], simulated=samples["simulated"])
