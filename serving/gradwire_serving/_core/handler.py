"""From a model's name, with a version or a label, to the arrays that it computes: what every front end calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from gradwire_serving._core.manager import Manager
from gradwire_serving._core.servable import Servable
from gradwire_serving._core.source import ModelConfig
from gradwire_serving._core.status import invalid_argument

Turn: TypeAlias = "Callable[[float | None], AbstractContextManager[Any]]"  # by a deadline; see ConcurrencyLimit.turn


def _no_turn(_deadline: float | None) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as a request names it."""

    name: str
    version: int | None = None  # None for the one with the label, or without a label for the latest
    label: str | None = None  # a label from the server's config


@final
class Resolver:
    """Finds the servable that a ``ModelRef`` stands for.

    Attributes:
        computed: called with a model's name and the seconds of each computation, for the page of metrics; None for
            nobody.
    """

    def __init__(self, manager: Manager, models: Iterable[ModelConfig]) -> None:
        self.computed: Callable[[str, float], None] | None = None
        self._manager = manager
        self.configure(models)

    def configure(self, models: Iterable[ModelConfig]) -> None:
        """Replace the models, whose labels it knows."""
        self._labels = {model.name: model.labels for model in models}

    def label(self, name: str) -> str:
        """Return a model's name for metrics; empty where it is not served, or callers could make up any number."""
        return name if self._manager.versions(name) else ""

    def use(self, model: ModelRef) -> AbstractContextManager[tuple[int, Servable]]:
        """Hand out the version for one call; see ``Manager.use``."""
        if not model.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = model.version
        if version is None and model.label is not None:
            version = self._labels.get(model.name, {}).get(model.label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {model.label}")
        return self._manager.use(model.name, version)


def predict(
    resolver: Resolver,
    model: ModelRef,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str] = (),
    deadline: float | None = None,
) -> tuple[int, dict[str, np.ndarray]]:
    """Run a signature, and wait for it; see ``start_predict``."""
    version, outputs = start_predict(resolver, model, signature, inputs, output_filter, deadline)
    return version, outputs.result() if isinstance(outputs, Future) else outputs


def start_predict(
    resolver: Resolver,
    model: ModelRef,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str] = (),
    deadline: float | None = None,
    turn: Turn = _no_turn,
) -> tuple[int, dict[str, np.ndarray] | Future[dict[str, np.ndarray]]]:
    """Run a signature, stopped at an instant of ``time.monotonic``; return the version that runs, and its outputs.

    The outputs come later where calls are batched; what is not is computed in its ``turn``. The names are checked
    before an array is read, so a mapping may decode as it is read, and a call to a model that does not exist costs no
    decoding.
    """
    start = time.monotonic()
    use = resolver.use(model)
    version, servable = use.__enter__()
    try:
        with nullcontext() if servable.batches else turn(deadline):
            outputs = servable.start(signature, inputs, output_filter, deadline)
    except BaseException:
        use.__exit__(None, None, None)
        raise
    computed = resolver.computed
    if isinstance(outputs, Future):
        outputs.add_done_callback(lambda _: use.__exit__(None, None, None))
        if computed is not None:
            outputs.add_done_callback(lambda done: _count(done, computed, model.name, start))
    else:
        use.__exit__(None, None, None)
        if computed is not None:
            computed(model.name, time.monotonic() - start)
    return version, outputs


def _count(done: Future[Any], computed: Callable[[str, float], None], name: str, start: float) -> None:
    if not done.cancelled() and done.exception() is None:
        computed(name, time.monotonic() - start)
