"""The models that are served, replaced as a whole while the server runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import final

from gradwire_serving._core.handler import Resolver
from gradwire_serving._core.log import event
from gradwire_serving._core.manager import Manager, State, Version
from gradwire_serving._core.source import ModelConfig, Source
from gradwire_serving._core.status import Code, StatusError


@final
class Configuration:
    """What is served now.

    Args:
        models: what is served at first.
        source: watches their base paths.
        manager: loads their versions.
        resolver: knows their labels.
        unavailable_labels: whether a label may name a version that is not available.
    """

    def __init__(
        self,
        models: Iterable[ModelConfig],
        source: Source,
        manager: Manager,
        resolver: Resolver,
        *,
        unavailable_labels: bool,
    ) -> None:
        self._models = tuple(models)
        self._source = source
        self._manager = manager
        self._resolver = resolver
        self._unavailable_labels = unavailable_labels
        self._changing = threading.Lock()

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """The models that are served."""
        return self._models

    def replace(self, models: Sequence[ModelConfig]) -> Future[list[tuple[str, Version]]]:
        """Serve other models.

        Returns:
            What comes when every new model has an available version or has failed: the versions that failed.

        Raises:
            StatusError: a label names a version that is not available; nothing has changed.
        """
        with self._changing:
            if not self._unavailable_labels:
                self._check_labels(models)
            before = {model.name for model in self._models}
            self._models = tuple(models)
            self._resolver.configure(models)
            self._source.configure(models)
        event(logging.INFO, "configured", models=",".join(model.name for model in models))
        return self._manager.when_served([model.name for model in models if model.name not in before])

    def _check_labels(self, models: Iterable[ModelConfig]) -> None:
        for model in models:
            for version in model.labels.values():
                if not any(
                    known.number == version and known.state is State.AVAILABLE
                    for known in self._manager.versions(model.name)
                ):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, which is not currently "
                        "available for inference",
                    )
