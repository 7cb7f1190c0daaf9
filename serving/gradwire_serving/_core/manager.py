"""The Manager: loads the versions that should exist, drains those that should not, and hands out the ones that serve."""

from __future__ import annotations

import enum
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, final

from gradwire._errors import ServerError
from gradwire_serving._core.servable import Servable
from gradwire_serving._core.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

log: Final = logging.getLogger("gradwire_serving")

LOAD_THREADS: Final = 4  # models load side by side: half of a load waits for the disk or runs without the GIL

# A wait without a limit may sleep through a signal that came just before it began: seen once in 25 starts under load.
SIGNAL_INTERVAL: Final = 0.5  # seconds

Loader: TypeAlias = "Callable[[Path], Servable | Status]"


class State(enum.IntEnum):
    """The life of a version, numbered as in ``ModelVersionStatus``."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@final
@dataclass(slots=True, eq=False)
class Version:
    """One version of a model, from the moment it was wanted.

    Attributes:
        number: its number.
        path: its directory.
        state: where in its life it is.
        failure: why it could not be loaded, if so.
        servable: what answers while it is available or drains.
        uses: calls that run on it now.
        replaceable: it has ended, and may be loaded anew when it is wanted again; a failed one may not be as long as it
            stays wanted.
    """

    number: int
    path: Path
    state: State = State.START
    failure: Status | None = None
    servable: Servable | None = None
    uses: int = 0
    replaceable: bool = False


@final
@dataclass(slots=True)
class _Model:
    name: str
    wanted: Mapping[int, Path] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)
    worked_on: bool = False

    @property
    def settled(self) -> bool:
        """Whether at least one version is wanted, and all that are have been loaded or have failed."""
        return bool(self.wanted) and all(
            self.versions[number].state in (State.AVAILABLE, State.END) for number in self.wanted
        )


@final
class Manager:
    """Keeps every model's versions as its Source wants them.

    A new version is available before an old one is drained; a version that cannot be loaded ends, and the old one goes
    on; a version is unloaded when its last call has ended.

    Args:
        load: loads a version's directory, or says why it cannot be.
        max_retries: further tries after a failed load.
        retry_interval: seconds between them.
    """

    def __init__(self, load: Loader, *, max_retries: int, retry_interval: float) -> None:
        self._load_version = load
        self._max_retries = max_retries
        self._retry_interval = retry_interval
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._workers = ThreadPoolExecutor(LOAD_THREADS, thread_name_prefix="gradwire-load")

    def want(self, name: str, versions: Mapping[int, Path]) -> None:
        """Takes note of the versions of a model that should exist, and sets to work.

        Args:
            name: the model.
            versions: directories by version number.
        """
        with self._changed:
            if self._stopping:
                return
            model = self._models.setdefault(name, _Model(name))
            model.wanted = dict(versions)
            for version in model.versions.values():
                if version.number not in versions and version.state in (State.START, State.END):
                    version.state, version.replaceable = State.END, True
            for number, path in versions.items():
                known = model.versions.get(number)
                if known is None or known.replaceable:
                    model.versions[number] = Version(number, path)
            self._changed.notify_all()
            if not model.worked_on:
                model.worked_on = True
                self._workers.submit(self._work, model)

    @contextmanager
    def use(self, name: str, number: int | None = None) -> Iterator[tuple[int, Servable]]:
        """Hands out a version for one call, and keeps it alive until the call has ended.

        Args:
            name: the model.
            number: its version; None for the latest that is available.

        Yields:
            The version's number and its servable.

        Raises:
            ServerError: NOT_FOUND, no such version is available.
        """
        with self._changed:
            version, servable = self._find(name, number)
            version.uses += 1
        try:
            yield version.number, servable
        finally:
            with self._changed:
                version.uses -= 1
                drained = version.state is State.UNLOADING and not version.uses
            if drained:
                self._end(version)

    def versions(self, name: str) -> list[Version]:
        """Lists the versions of a model that are or were, highest first; empty for an unknown model."""
        with self._changed:
            model = self._models.get(name)
            versions = {} if model is None else model.versions
            return [versions[number] for number in sorted(versions, reverse=True)]

    def wait_until_settled(self, names: Sequence[str]) -> dict[str, list[Version]]:
        """Waits, for ever if need be, until every model has loaded what is wanted of it, or has failed to.

        Returns:
            The versions that failed, by model; empty when all are available.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._stopping or self._all_settled(names), SIGNAL_INTERVAL):
                pass
            failed = {
                model.name: [model.versions[number] for number in model.wanted if model.versions[number].failure]
                for model in self._models.values()
            }
            return {name: versions for name, versions in failed.items() if versions}

    def stop(self) -> None:
        """Ends loading and unloads everything, whether or not calls still run."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._workers.shutdown()
        for model in self._models.values():
            for version in model.versions.values():
                if version.servable is not None:
                    self._end(version)

    def _all_settled(self, names: Sequence[str]) -> bool:
        return all(name in self._models and self._models[name].settled for name in names)

    def _find(self, name: str, number: int | None) -> tuple[Version, Servable]:
        model = self._models.get(name)
        versions = {} if model is None else model.versions
        available = [v for v in versions.values() if v.state is State.AVAILABLE and number in (None, v.number)]
        if available:
            version = max(available, key=lambda version: version.number)
            if version.servable is not None:
                return version, version.servable
        asked = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise ServerError(f"Servable not found for request: {asked}", code="NOT_FOUND")

    def _work(self, model: _Model) -> None:
        while True:
            with self._changed:
                step = None if self._stopping else self._next_step(model)
                if step is None:
                    model.worked_on = False
                    return
            step()

    def _next_step(self, model: _Model) -> Callable[[], None] | None:
        for number in sorted(model.wanted, reverse=True):
            version = model.versions[number]
            if version.state is State.START:
                version.state = State.LOADING
                return lambda: self._load(model, version)
        replaced = any(model.versions[number].state is State.AVAILABLE for number in model.wanted)
        if replaced or not model.wanted:
            for version in model.versions.values():
                if version.number not in model.wanted and version.state is State.AVAILABLE:
                    version.state = State.UNLOADING
                    return lambda: self._end_unless_used(version)
        return None

    def _load(self, model: _Model, version: Version) -> None:
        for tries_left in reversed(range(self._max_retries + 1)):
            result = self._load_version(version.path)
            if isinstance(result, Servable):
                log.info("model %s version %d is available", model.name, version.number)
                return self._settle(version, State.AVAILABLE, servable=result)
            log.warning("cannot load model %s version %d: %s", model.name, version.number, result)
            if not tries_left or not self._wait_to_retry(model, version):
                return self._settle(version, State.END, failure=result)
        return None

    def _wait_to_retry(self, model: _Model, version: Version) -> bool:
        with self._changed:
            given_up = self._changed.wait_for(
                lambda: self._stopping or version.number not in model.wanted, self._retry_interval
            )
        return not given_up

    def _settle(
        self,
        version: Version,
        state: State,
        *,
        servable: Servable | None = None,
        failure: Status | None = None,
    ) -> None:
        with self._changed:
            version.state, version.servable, version.failure = state, servable, failure
            self._changed.notify_all()

    def _end_unless_used(self, version: Version) -> None:
        with self._changed:
            used = version.uses
        if not used:
            self._end(version)

    def _end(self, version: Version) -> None:
        with self._changed:
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        with self._changed:
            version.state, version.replaceable = State.END, True
            self._changed.notify_all()
