"""Fitting once more what a record describes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np

from gradwire._errors import DataError, PackageError
from gradwire_export import MODEL_FILE, RECORD_FILE, RECORD_FORMAT
from gradwire_training import optimizers, problems
from gradwire_training._data import Provenance, Samples, Stream
from gradwire_training._fit.fit import fit
from gradwire_training._fit.record import HELD_OUT, PINS, SAMPLES, START
from gradwire_training._models import with_dtype
from gradwire_training._objective import Loss, losses
from gradwire_training._progress import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gradwire_training._fit.result import Result
    from gradwire_training._progress import Callback

Arrays = dict[str, "NDArray[Any]"]


def repeat(path: str | Path, *, callbacks: Sequence[Callback] = ()) -> Result:
    """Fits again from a saved result: the same samples, initial weights, loss, optimiser, settings and seed.

    On the same machine and versions a completed fit ends at the same loss.

    Args:
        path: a directory that ``Result.save`` wrote.
        callbacks: as in ``fit``.

    Returns:
        The new result.

    Raises:
        PackageError: the directory is not a result, is corrupt, or of a newer format.
        DataError: the samples are in a file beside it that is gone, or has changed.
    """
    path = Path(path)
    try:
        record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        if record["format"] > RECORD_FORMAT:
            raise PackageError(
                f"{path / RECORD_FILE} has format {record['format']}, expected at most {RECORD_FORMAT}: update gradwire"
            )
        arrays, start = _arrays(path / SAMPLES), _arrays(path / START)
        model = keras.models.load_model(path / MODEL_FILE, compile=False, safe_mode=True)
        trained = record["trained"]
        settings = dict(trained["optimizer"])
        samples, loss = _samples(arrays, trained), _loss(arrays, trained["loss"])
        held_out = _part(arrays, HELD_OUT, {}) if f"{HELD_OUT}x:{next(iter(samples.x))}" in arrays else None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise PackageError(
            f"{path} is not the result of a fit ({error!r}): give a directory that a fit saved"
        ) from error
    return fit(
        _started(cast("keras.Model", model), list(start.values())),
        _stream(samples, trained["samples"].get("stream")) or samples,
        loss=loss,
        optimizer=optimizers.get(settings.pop("name"), **settings),
        steps=trained["steps_asked"],
        seed=trained["seed"],
        dtype=trained["dtype"],
        callbacks=callbacks,
        validation=held_out,
    )


def _arrays(path: Path) -> Arrays:
    # NumPy leaves a file open that it cannot read: it is opened here.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _samples(arrays: Arrays, trained: dict[str, Any]) -> Samples:
    provenance = None
    if problems.known(trained["problem"]):
        made = trained["samples"]
        provenance = Provenance(
            truth=problems.get(trained["problem"]).truth,
            spacing=made["spacing"],
            seed=made["seed"],
            simulated=made["simulated"],
        )
    return _part(arrays, "", trained.get("units", {}), provenance)


def _stream(samples: Samples, settings: dict[str, Any] | None) -> Stream | None:
    """Opens the files again that were too large for the record, which holds some of their rows."""
    if settings is None:
        return None
    stream = Stream(**{name: value for name, value in settings.items() if name != "rows"})
    if digest_of(stream.samples.arrays()) != digest_of(samples.arrays()):
        raise DataError(f"{settings['path']} has other rows than those that were fitted: put the old ones back")
    return stream


def _part(arrays: Arrays, prefix: str, units: dict[str, str], provenance: Provenance | None = None) -> Samples:
    dydx: dict[str, Arrays] = {}
    for name, column in _columns(arrays, f"{prefix}dydx").items():
        output, wrt = name.split(":")
        dydx.setdefault(output, {})[wrt] = column
    return Samples(
        _columns(arrays, f"{prefix}x"),
        _columns(arrays, f"{prefix}y"),
        dydx,
        x_dot=_columns(arrays, f"{prefix}x_dot") or None,
        y_dot=_columns(arrays, f"{prefix}y_dot") or None,
        units=units,
        provenance=provenance,
    )


def _loss(arrays: Arrays, settings: dict[str, Any]) -> Loss:
    pins = None if settings["pins"] is None else _part(arrays, PINS, {})
    return losses.from_settings(settings, pins)


def _columns(arrays: Arrays, role: str) -> Arrays:
    prefix = f"{role}:"
    return {name.removeprefix(prefix): column for name, column in arrays.items() if name.startswith(prefix)}


def _started(model: keras.Model, start: list[NDArray[Any]]) -> keras.Model:
    """Gives the model its initial weights, in the precision that it had then."""
    floats = {str(weight.dtype) for weight in start if weight.dtype.kind == "f"}
    model = with_dtype(model, "float64" if "float64" in floats else "float32")
    model.set_weights(start)
    return model
