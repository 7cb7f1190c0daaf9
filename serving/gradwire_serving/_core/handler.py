"""From a model's name, with a version or a label, to the arrays that it computes: what every front end calls."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import final

import numpy as np

from gradwire_serving._core.manager import Manager
from gradwire_serving._core.models import ModelConfig
from gradwire_serving._core.servable import Servable
from gradwire_serving._core.status import invalid_argument


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as a request names it.

    Attributes:
        name: the model.
        version: its version; None for the one with ``label``, or without that for the latest.
        label: a label from the server's config.
    """

    name: str
    version: int | None = None
    label: str | None = None


@final
class Resolver:
    """Finds the servable that a ``ModelRef`` stands for.

    Args:
        manager: holds the servables.
        models: their configs, which have the labels.
    """

    def __init__(self, manager: Manager, models: Iterable[ModelConfig]) -> None:
        self._manager = manager
        self._labels = {model.name: model.labels for model in models}

    def use(self, model: ModelRef) -> AbstractContextManager[tuple[int, Servable]]:
        """Hand out the version for one call; see ``Manager.use``.

        Raises:
            StatusError: INVALID_ARGUMENT, no name or an unknown label; NOT_FOUND, the version is not available.
        """
        if not model.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = model.version
        if version is None and model.label is not None:
            version = self._labels.get(model.name, {}).get(model.label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {model.label}")
        return self._manager.use(model.name, version)


@final
class PredictHandler:
    """Runs signatures of served models.

    Args:
        resolver: finds the servables.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def predict(
        self,
        model: ModelRef,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Run one signature.

        Args:
            model: which model and version.
            signature: its name; empty for ``serving_default``.
            inputs: arrays by input name. The names are checked before an array is read, so a mapping may decode as it
                is read, and a call to a model that does not exist costs no decoding.
            output_filter: names of the outputs to compute; empty for all.
            deadline: instant of ``time.monotonic`` at which the computation is stopped; None for no limit.

        Returns:
            The version that ran, and its arrays by output name.

        Raises:
            StatusError: with the code and the text that TensorFlow Serving responds with.
        """
        with self._resolver.use(model) as (version, servable):
            timeout = None if deadline is None else deadline - time.monotonic()
            return version, servable.run(signature, inputs, output_filter, timeout)
