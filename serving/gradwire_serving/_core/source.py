"""The Source: watches base paths, and says which versions should exist."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, TypeAlias, final

from gradwire._package import version_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gradwire_serving._config import ModelConfig, VersionPolicy

log: Final = logging.getLogger("gradwire_serving")

Sink: TypeAlias = "Callable[[str, Mapping[int, Path]], None]"


def wanted_versions(versions: Mapping[int, Path], policy: VersionPolicy) -> dict[int, Path]:
    """Picks the versions that a policy serves.

    Args:
        versions: what lies below the base path.
        policy: the latest (one, unless it says how many), all, or specific ones.
    """
    match policy.WhichOneof("policy_choice"):
        case "all":
            return dict(versions)
        case "specific":
            return {number: versions[number] for number in policy.specific.versions if number in versions}
        case _:
            latest = sorted(versions)[-max(1, policy.latest.num_versions) :]
            return {number: versions[number] for number in latest}


@final
class Source:
    """Looks at every model's base path, at once and then again and again, and tells what it wants served.

    A base path that is not there says nothing: what is served goes on. One that holds no version wants none.

    Args:
        models: what to watch.
        sink: told a model's name and its wanted versions after every look.
        interval: seconds between looks; 0 looks once.
    """

    def __init__(self, models: Sequence[ModelConfig], sink: Sink, interval: float) -> None:
        self._models = models
        self._sink = sink
        self._interval = interval
        self._warned: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gradwire-source", daemon=True)

    def start(self) -> None:
        """Begins to watch, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            for model in self._models:
                self._look(model)
            if not self._interval:
                return
            self._stopping.wait(self._interval)

    def _look(self, model: ModelConfig) -> None:
        try:
            children = sorted(model.base_path.iterdir(), reverse=True)
        except OSError as error:
            self._warn(model, f"cannot list base path {model.base_path} of model {model.name}: {error.strerror}")
            return
        numbered = {version_number(child.name): child for child in children}
        wanted = wanted_versions({n: path for n, path in numbered.items() if n is not None}, model.policy)
        hint = "its versions are directories named by numbers, such as 1"
        self._warn(model, "" if wanted else f"no version of model {model.name} below {model.base_path}: {hint}")
        self._sink(model.name, wanted)

    def _warn(self, model: ModelConfig, message: str) -> None:
        # Said once, not at every look.
        if message and self._warned.get(model.name) != message:
            log.warning(message)
        self._warned[model.name] = message
