"""The Source: watches the models' base paths, and reports which of their versions should be loaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, final

from gradwire._package import version_number
from gradwire_serving._core.log import event

Sink: TypeAlias = "Callable[[str, Mapping[int, Path]], None]"

HINT: Final = "versions are directories named by numbers, such as 1"
TOO_LARGE: Final = "a version is at most 9223372036854775807"


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
        url: where the versions are instead, such as ``s3://bucket/models/log``, which TensorFlow Serving alone reads.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: dict[str, int] = field(default_factory=dict[str, int])
    url: str = ""


@final
class Source:
    """Polls every model's base path, and passes on the versions that should be loaded.

    A base path that cannot be listed changes nothing: what is served stays. One that holds no version aspires to none.
    """

    def __init__(self, models: Sequence[ModelConfig], sink: Sink, interval: float) -> None:
        self._models = tuple(models)
        self._removed: set[str] = set()
        self._sink = sink
        self._interval = interval
        self._warned: set[tuple[str, str]] = set()
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gradwire-source", daemon=True)

    def start(self) -> None:
        """Begin to poll, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopping.set()

    def configure(self, models: Sequence[ModelConfig]) -> None:
        """Replace the models: new ones are looked for at once; the next poll ends those that are gone."""
        with self._polling:
            names = {model.name for model in models}
            before = {model.name for model in self._models}
            self._models = tuple(models)
            self._removed = (self._removed | before) - names
            for model in models:
                if model.name not in before:
                    self._poll_model(model)
        if not self._interval:
            self.poll()

    def poll(self) -> None:
        """List every base path once."""
        with self._polling:
            for name in self._removed:
                self._sink(name, {})
            self._removed.clear()
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
            self._warn(model, "the base path cannot be listed", base_path=model.base_path, error=error.strerror)
            return
        numbered = {version_number(child.name): child for child in children}
        for child in children:
            if child.name.isdigit() and version_number(child.name) is None:
                self._warn(model, "a directory is ignored", path=child, hint=TOO_LARGE)
        versions = {number: path for number, path in numbered.items() if number is not None}
        for number in model.policy.specific or ():
            if number not in versions:
                present = ",".join(map(str, sorted(versions))) or "none"
                self._warn(model, "a version is missing", version=number, base_path=model.base_path, present=present)
        aspired = model.policy.select(versions)
        if not versions:
            self._warn(model, "there is no version", base_path=model.base_path, hint=HINT)
        self._sink(model.name, aspired)

    def _warn(self, model: ModelConfig, problem: str, **fields: object) -> None:
        # Once, not at every poll.
        key = (model.name, f"{problem} {fields}")
        if key not in self._warned:
            self._warned.add(key)
            event(logging.WARNING, "problem", model=model.name, problem=problem, **fields)
