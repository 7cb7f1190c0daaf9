"""Repeating a saved fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradwire._errors import DataError
from gradwire_training import optimizers
from gradwire_training._data import Samples, Stream
from gradwire_training._fit.fit import fit
from gradwire_training._fit.record import read
from gradwire_training._fit.request import digest_of
from gradwire_training._fit.result import Result
from gradwire_training._fit.second_stage import refine
from gradwire_training._progress import Callback
from gradwire_training.networks import ChosenNetwork


def repeat(path: str | Path, *, callbacks: Sequence[Callback] = ()) -> Result:
    """Fit again from a saved result: the same samples, initial weights, loss, optimiser, settings and seed.

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
    saved = read(path)
    trained, settings = saved.trained, dict(saved.trained["optimizer"])
    chosen = trained["network"].get("chosen")
    result = fit(
        saved.model if chosen is None else ChosenNetwork.of(saved.model, chosen),
        _stream(saved.samples, trained["samples"].get("stream")) or saved.samples,
        loss=saved.loss,
        optimizer=optimizers.get(settings.pop("name"), **settings),
        steps=trained["steps_asked"],
        seed=trained["seed"],
        dtype=trained["dtype"],
        callbacks=callbacks,
        validation=saved.validation,
    )
    return result if trained.get("stages", 1) == 1 else refine(result, callbacks=callbacks)


def _stream(samples: Samples, settings: dict[str, Any] | None) -> Stream | None:
    """Open the files again that were too large for the record, which holds some of their rows."""
    if settings is None:
        return None
    stream = Stream(**{name: value for name, value in settings.items() if name != "rows"})
    if digest_of(stream.samples.arrays()) != digest_of(samples.arrays()):
        raise DataError(f"{settings['path']} has other rows than those that were fitted: put the old ones back")
    return stream
