"""The settings of a fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, UsageError
from gradwire_training import optimizers
from gradwire_training._data import Samples, Stream
from gradwire_training._models import DTYPES, array_of
from gradwire_training._objective import Loss
from gradwire_training.optimizers import Optimizer


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that decides how a fit goes, but for the model that it starts from."""

    samples: Samples
    loss: Loss
    optimizer: Optimizer
    steps: int | None  # at most; None until the optimiser has chosen its own number
    seed: int
    dtype: str  # of the package
    seconds: float | None = None
    validation: Samples | None = None  # measured, not fitted
    stream: Stream | None = None  # all rows, where ``samples`` are some of them

    @classmethod
    def of(
        cls, samples: Samples | Stream, optimizer: str | Optimizer, *, validation: Samples | None, **settings: Any
    ) -> Request:
        """Resolve what may be given in two forms: rows in memory or a stream, an optimiser or its name.

        Rows with the weight 0 are left out. The validation rows of a stream are by default those that it holds out.
        """
        if isinstance(validation, Samples):
            validation = validation.counted()
        chosen = optimizers.get(optimizer) if isinstance(optimizer, str) else optimizer
        if not isinstance(chosen, Optimizer):
            raise UsageError(f"optimizer is {chosen!r}, expected a name or an instance of optimizers.Optimizer")
        if not isinstance(samples, Stream):
            rows = samples.counted() if isinstance(samples, Samples) else samples
            return cls(samples=rows, optimizer=chosen, validation=validation, **settings)
        if not (chosen := chosen.for_stream()).streams:
            names = " or ".join(repr(name) for name in optimizers.names(streams=True))
            raise UsageError(f"optimizer {chosen.name!r} needs all rows in memory: a stream is fitted by {names}")
        validation = samples.validation if validation is None else validation
        return cls(samples=samples.samples, stream=samples, optimizer=chosen, validation=validation, **settings)

    def __post_init__(self) -> None:
        for name, kind in {"samples": Samples, "loss": Loss}.items():
            if not isinstance(value := getattr(self, name), kind):
                raise UsageError(f"{name} is {value!r}, expected an instance of gradwire_training's {kind.__name__}")
        if self.validation is not None:
            self._check_validation(self.validation)
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"{self.steps} steps, expected 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"{self.seconds} seconds, expected a number above 0")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}, expected 0 or more")
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype!r}, expected one of {', '.join(DTYPES)}")

    def _check_validation(self, rows: Samples) -> None:
        if not isinstance(rows, Samples):
            raise UsageError(f"validation is {rows!r}, expected an instance of gradwire_training's Samples")
        ours, theirs = (
            {name: column.shape[1:] for table in (each.x, each.y) for name, column in table.items()}
            for each in (self.samples, rows)
        )
        if ours != theirs:
            raise DataError(f"validation has columns {theirs}, the samples {ours}: give the same")

    @property
    def most_steps(self) -> int:
        """Number of steps at most; the default of the optimiser's class until it has chosen its own."""
        return self.optimizer.steps if self.steps is None else self.steps

    @property
    def precision(self) -> str:
        """The dtype that the fit computes in."""
        return self.optimizer.precision or self.dtype


def run_fingerprint(request: Request, model: keras.Model) -> dict[str, str]:
    """Return as texts what decides how a fit goes: two fits that differ in any of them end elsewhere."""
    layers = [(type(layer).__name__, layer.count_params(), *_shape_of(layer)) for layer in model.layers]
    pins = request.loss.pins
    return {
        "samples": digest_of(request.samples.arrays()),
        "stream": "none" if request.stream is None else json.dumps(request.stream.settings()),
        "loss": json.dumps(request.loss.settings(), default=str)
        + (f", pins {digest_of(pins.arrays())}" if pins else ""),
        "network": json.dumps(layers, default=str),
        "initial weights": digest_of((str(i), array_of(w)) for i, w in enumerate(model.weights)),
        "optimizer": json.dumps([request.optimizer.name, request.optimizer.settings()], default=str),
        "steps": str(request.steps),
        "seed": str(request.seed),
        "dtype": request.dtype,
    }


def digest_of(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Return a digest of named arrays: their names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def _shape_of(layer: keras.Layer) -> list[Any]:
    config = layer.get_config()
    return [config[key] for key in ("units", "activation") if key in config]
