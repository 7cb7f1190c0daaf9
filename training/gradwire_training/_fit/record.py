"""The record of a fit on disk: everything needed to export it, to judge it, and to repeat it."""

from __future__ import annotations

import csv
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire._package import CardTensor, Domain, StagedPath, require_writable_directory, strict_json
from gradwire_export import MODEL_FILE, RECORD_FILE, RECORD_FORMAT

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from gradwire_training._data import Stream
    from gradwire_training._fit.result import Result
    from gradwire_training._models import BoundTensor

HISTORY: Final = "history.csv"
SAMPLES: Final = "samples.npz"
START: Final = "start.npz"
PINS: Final = "pins."
HELD_OUT: Final = "held_out."

SOFTWARE: Final = ("gradwire", "tensorflow", "keras", "numpy", "scipy")


def write(result: Result, path: str | Path) -> Path:
    """Writes a result as a directory (see ``Result.save``)."""
    path = Path(path)
    with StagedPath(path, is_directory=True, marker=RECORD_FILE) as staged:
        directory = staged.path
        result.model.save(directory / MODEL_FILE)
        _write_history(result, directory / HISTORY)
        np.savez(directory / SAMPLES, **_arrays(result), allow_pickle=False)
        np.savez(directory / START, *result.start, allow_pickle=False)
        (directory / RECORD_FILE).write_text(strict_json(record(result, path.name)), encoding="utf-8")
    return path


def require_target(path: str | Path) -> None:
    """Refuses a place where a result could not be saved; ask before a long fit, not after it.

    Args:
        path: the directory that ``Result.save`` is to write.

    Raises:
        PackageError: something else is there, or it cannot be written.
    """
    require_writable_directory(Path(path), marker=RECORD_FILE)


def record(result: Result, directory: str) -> dict[str, Any]:
    """Gives what is to be known of a result, as plain data.

    Args:
        result: of a fit.
        directory: its name, which the result has where its samples come from no problem.
    """
    provenance = result.request.samples.provenance
    return {
        "format": RECORD_FORMAT,
        "name": directory if provenance is None else provenance.truth.name,
        "inputs": [asdict(_input(result, port)) for port in result.ports.inputs],
        "outputs": [asdict(_tensor(result, port)) for port in result.ports.outputs],
        "trained": _trained(result),
        "errors": result.errors,
    }


def _trained(result: Result) -> dict[str, Any]:
    request = result.request
    provenance = request.samples.provenance
    return {
        "problem": None if provenance is None else provenance.truth.name,
        "source": None if provenance is None else provenance.truth.source,
        "samples": {
            "count": request.samples.count,
            "spacing": None if provenance is None else provenance.spacing,
            "seed": None if provenance is None else provenance.seed,
            "simulated": None if provenance is None else provenance.simulated,
            "values": request.samples.value_labels,
            "derivatives": request.samples.derivative_labels,
            "directional": request.samples.directional_labels,
            "held_out": 0 if request.validation is None else request.validation.count,
            "file": SAMPLES,
            "stream": None if request.stream is None else _stream(request.stream),
        },
        "units": request.samples.units,
        "network": _network(result.model),
        "loss": request.loss.settings(),
        "optimizer": {"name": request.optimizer.name, **request.optimizer.settings()},
        "seed": request.seed,
        "dtype": request.dtype,
        "training_dtype": request.precision,
        "xla": result.xla,
        "start": {"file": START, "dtypes": sorted({str(weight.dtype) for weight in result.start})},
        "status": result.status,
        "message": result.message,
        "steps": result.steps,
        "steps_asked": request.most_steps,
        "seconds_asked": request.seconds,
        "story": result.story,
        "seconds": round(result.seconds, 3),
        "final_loss": result.loss,
        "versions": {**{name: version(name) for name in SOFTWARE}, "python": platform.python_version()},
    }


def _stream(stream: Stream) -> dict[str, Any]:
    """Says where the rows are that are too many for the record; the samples beside it are some of them."""
    return {"rows": stream.count, **stream.settings()}


def _network(model: keras.Model) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name,
            "class": type(layer).__name__,
            "parameters": layer.count_params(),
            **{key: layer.get_config()[key] for key in ("units", "activation") if key in layer.get_config()},
        }
        for layer in model.layers
    ]
    return {
        "class": type(model).__name__,
        "parameters": model.count_params(),
        "layers": layers,
        "file": MODEL_FILE,
    }


def _tensor(result: Result, port: BoundTensor) -> CardTensor:
    dtype = result.request.dtype if port.is_floating else port.dtype
    return CardTensor(name=port.name, dtype=dtype, shape=port.shape, unit=result.request.samples.units.get(port.name))


def _input(result: Result, port: BoundTensor) -> CardTensor:
    tensor = _tensor(result, port)
    column = result.request.samples.x[port.name].reshape(-1, *port.shape)
    bounds = column.min(axis=0), column.max(axis=0)
    if (stream := result.request.stream) is not None:
        bounds = stream.lower[port.name].reshape(port.shape), stream.upper[port.name].reshape(port.shape)
    domain = Domain(lower=bounds[0].tolist(), upper=bounds[1].tolist())
    return CardTensor(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, unit=tensor.unit, domain=domain)


def _arrays(result: Result) -> dict[str, NDArray[np.float64]]:
    """Names every column: ``x:spot``, ``dydx:price:spot``, ``pins.x:spot``, ``held_out.y:price``."""
    request = result.request
    parts = {"": request.samples, PINS: request.loss.pins, HELD_OUT: request.validation}
    return {
        prefix + name: column
        for prefix, samples in parts.items()
        if samples is not None
        for name, column in samples.arrays()
    }


def _write_history(result: Result, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(result.history)
        writer.writerows(zip(*(column.tolist() for column in result.history.values()), strict=True))
