"""The Source: watches the models' base paths, and reports which of their versions should be loaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, final

from gradwire._package import version_number

log: Final = logging.getLogger("gradwire_serving")

Sink: TypeAlias = "Callable[[str, Mapping[int, Path]], None]"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions of a model are served."""

    latest: int = 1  # how many of the highest, unless one of the others is set
    specific: tuple[int, ...] | None = None  # these numbers, where they exist
    every: bool = False  # all there are

    def select(self, versions: Mapping[int, Path]) -> dict[int, Path]:
        """Return the versions to serve of those below a base path."""
        if self.every:
            return dict(versions)
        if self.specific is not None:
            return {number: versions[number] for number in self.specific if number in versions}
        return {number: versions[number] for number in sorted(versions)[-self.latest :]}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model.

    Attributes:
        name: what callers address.
        base_path: absolute directory of its numbered versions.
        policy: which of them are served; by default the latest.
        labels: versions by label.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: dict[str, int] = field(default_factory=dict[str, int])


@final
class Source:
    """Polls every model's base path, and passes on the versions that should be loaded.

    A base path that cannot be listed changes nothing: what is served stays. One that holds no version aspires to none.
    """

    def __init__(self, models: Sequence[ModelConfig], sink: Sink, interval: float) -> None:
        self._models = models
        self._sink = sink
        self._interval = interval
        self._warned: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gradwire-source", daemon=True)

    def start(self) -> None:
        """Begin to poll, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """List every base path once."""
        for model in self._models:
            self._poll_model(model)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            if not self._interval:
                return
            self._stopping.wait(self._interval)

    def _poll_model(self, model: ModelConfig) -> None:
        try:
            children = sorted(model.base_path.iterdir(), reverse=True)
        except OSError as error:
            self._warn(model, f"cannot list base path {model.base_path} of model {model.name}: {error.strerror}")
            return
        numbered = {version_number(child.name): child for child in children}
        aspired = model.policy.select({n: path for n, path in numbered.items() if n is not None})
        hint = "its versions are directories named by numbers, such as 1"
        self._warn(model, "" if aspired else f"no version of model {model.name} below {model.base_path}: {hint}")
        self._sink(model.name, aspired)

    def _warn(self, model: ModelConfig, message: str) -> None:
        # Once, not at every poll.
        if message and self._warned.get(model.name) != message:
            log.warning(message)
        self._warned[model.name] = message
