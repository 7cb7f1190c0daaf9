"""The Source: watches base paths, and reports which versions should be loaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, final

from gradwire._package import version_number
from gradwire_serving._core.models import ModelConfig

log: Final = logging.getLogger("gradwire_serving")

Sink: TypeAlias = "Callable[[str, Mapping[int, Path]], None]"


@final
class Source:
    """Polls every model's base path, and passes on the versions that should be loaded.

    A base path that cannot be listed changes nothing: what is served stays. One that holds no version aspires to none.

    Args:
        models: what to watch.
        sink: receives a model's name and its aspired versions after every poll.
        interval: seconds between polls; 0 polls once.
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
