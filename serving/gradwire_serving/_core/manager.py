"""The Manager: loads the aspired versions, drains the others, and hands out the ones that are available."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, final

from gradwire_serving._core.log import event
from gradwire_serving._core.servable import Servable
from gradwire_serving._core.status import Code, Status, StatusError, status_of

LOAD_THREADS: Final = 4  # models load side by side: half of a load waits for the disk or runs without the GIL

# A wait without a limit may sleep through a signal that came just before it began: once in 25 starts under load.
SIGNAL_INTERVAL: Final = 0.5  # seconds
SAY_INTERVAL: Final = 10.0  # seconds after which a start says what it waits for

Loader: TypeAlias = "Callable[[Path], Servable]"


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
    """One version of a model, from the moment it was first aspired."""

    model: str
    number: int
    path: Path
    state: State = State.START
    failure: Status | None = None  # why it could not be loaded, if so
    servable: Servable | None = None  # what runs its calls while it is available or drains
    uses: int = 0  # calls that run on it now
    # it has ended, and is loaded anew when it is aspired again; a failed one is not as long as it stays aspired
    replaceable: bool = False


@final
@dataclass(slots=True)
class _Model:
    name: str
    aspired: Mapping[int, Path] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)
    has_worker: bool = False

    @property
    def settled(self) -> bool:
        """Whether at least one version is aspired, and all that are have been loaded or have failed."""
        return bool(self.aspired) and all(
            self.versions[number].state in (State.AVAILABLE, State.END) for number in self.aspired
        )

    @property
    def served(self) -> bool:
        """Whether a version is available, or all that are aspired have failed."""
        return self.settled or any(version.state is State.AVAILABLE for version in self.versions.values())

    @property
    def failed(self) -> list[tuple[str, Version]]:
        """The aspired versions that could not be loaded."""
        return [(self.name, self.versions[n]) for n in self.aspired if self.versions[n].failure]


@final
class Manager:
    """Brings every model to the versions that its Source aspires to.

    A new version is available before an old one is drained; a version that cannot be loaded ends, and the old one
    stays; a version is unloaded when its last call has ended.
    """

    def __init__(self, load: Loader, *, max_retries: int, retry_interval: float) -> None:
        self._load_version = load
        self._max_retries = max_retries
        self._retry_interval = retry_interval
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._waiting: list[tuple[Sequence[str], Future[list[tuple[str, Version]]]]] = []
        self._workers = ThreadPoolExecutor(LOAD_THREADS, thread_name_prefix="gradwire-load")

    def aspire(self, name: str, versions: Mapping[int, Path]) -> None:
        """Set which versions of a model should be loaded, by number, and begin to load and unload."""
        with self._changed:
            if self._stopping:
                return
            model = self._models.setdefault(name, _Model(name))
            model.aspired = dict(versions)
            for version in model.versions.values():
                if version.number not in versions and version.state in (State.START, State.END):
                    self._enter(version, State.END)
                    version.replaceable = True
            for number, path in versions.items():
                known = model.versions.get(number)
                if known is None or known.replaceable:
                    model.versions[number] = Version(name, number, path)
                    self._enter(model.versions[number], State.START)
            self._changed.notify_all()
            if not model.has_worker:
                model.has_worker = True
                self._workers.submit(self._work, model)

    @contextmanager
    def use(self, name: str, number: int | None = None) -> Iterator[tuple[int, Servable]]:
        """Hand out a version (None: the latest available), and keep it alive until the call has ended; or NOT_FOUND."""
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
        """Return the versions of a model that are or were, highest first; empty for an unknown model."""
        with self._changed:
            model = self._models.get(name)
            versions = {} if model is None else model.versions
            return [versions[number] for number in sorted(versions, reverse=True)]

    def wait_until_settled(self, names: Sequence[str]) -> list[tuple[str, Version]]:
        """Wait, forever if need be, until all aspired versions are loaded or have failed; return those that failed."""
        say_at = time.monotonic() + SAY_INTERVAL
        with self._changed:
            while not self._stopping:
                missing = [name for name in names if name not in self._models or not self._models[name].settled]
                if not missing:
                    break
                if time.monotonic() >= say_at:
                    event(
                        logging.WARNING, "waiting", models=",".join(missing), hint="the port opens when all are loaded"
                    )
                    say_at += SAY_INTERVAL
                self._changed.wait(SIGNAL_INTERVAL)
            return [failed for model in self._models.values() for failed in model.failed]

    def when_served(self, names: Sequence[str]) -> Future[list[tuple[str, Version]]]:
        """Return what comes when all models have an available version or have failed: the versions that failed."""
        future: Future[list[tuple[str, Version]]] = Future()
        with self._changed:
            self._waiting.append((names, future))
        self._tell_waiting()
        return future

    def stop(self) -> None:
        """Stop loading and unload everything, whether or not calls still run."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._workers.shutdown(
            wait=False, cancel_futures=True
        )  # a load may take minutes; it then closes what it loaded
        for model in self._models.values():
            for version in model.versions.values():
                if version.servable is not None:
                    self._end(version)

    def _tell_waiting(self) -> None:
        due: list[tuple[list[_Model], Future[list[tuple[str, Version]]]]] = []
        with self._changed:
            waiting, self._waiting = self._waiting, []
            for names, future in waiting:
                models = [self._models[name] for name in names if name in self._models]
                if len(models) == len(names) and all(model.served for model in models):
                    due.append((models, future))
                elif not future.cancelled():
                    self._waiting.append((names, future))
        for models, future in due:
            if future.set_running_or_notify_cancel():
                future.set_result([failed for model in models for failed in model.failed])

    @staticmethod
    def _enter(version: Version, state: State) -> None:
        if version.state is not state or state is State.START:
            event(logging.DEBUG, "state", model=version.model, version=version.number, state=state.name)
        version.state = state

    def _find(self, name: str, number: int | None) -> tuple[Version, Servable]:
        model = self._models.get(name)
        versions = {} if model is None else model.versions
        available = [v for v in versions.values() if v.state is State.AVAILABLE and number in (None, v.number)]
        if available:
            version = max(available, key=lambda version: version.number)
            if version.servable is not None:
                return version, version.servable
        request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {request}")

    def _work(self, model: _Model) -> None:
        while True:
            with self._changed:
                step = None if self._stopping else self._next_step(model)
                if step is None:
                    model.has_worker = False
                    return
            step()

    def _next_step(self, model: _Model) -> Callable[[], None] | None:
        for number in sorted(model.aspired, reverse=True):
            version = model.versions[number]
            if version.state is State.START:
                self._enter(version, State.LOADING)
                return lambda: self._load(model, version)
        replaced = any(model.versions[number].state is State.AVAILABLE for number in model.aspired)
        if replaced or not model.aspired:
            for version in model.versions.values():
                if version.number not in model.aspired and version.state is State.AVAILABLE:
                    self._enter(version, State.UNLOADING)
                    if not version.uses:  # otherwise the last of its calls ends it
                        return lambda: self._end(version)
        return None

    def _load(self, model: _Model, version: Version) -> None:
        about = {"model": version.model, "version": version.number}
        for attempts_left in reversed(range(self._max_retries + 1)):
            began = time.monotonic()
            try:
                servable = self._load_version(version.path)
            except Exception as error:  # noqa: BLE001 - whatever it is, the version ends: its start waits for that
                failure = status_of(error)
            else:
                event(logging.INFO, "loaded", **about, seconds=time.monotonic() - began)
                return self._settle(version, State.AVAILABLE, servable=servable)
            event(logging.WARNING, "failed", **about, error=failure, retries_left=attempts_left)
            if not attempts_left or not self._wait_to_retry(model, version):
                return self._settle(version, State.END, failure=failure)
        return None

    def _wait_to_retry(self, model: _Model, version: Version) -> bool:
        with self._changed:
            return not self._changed.wait_for(
                lambda: self._stopping or version.number not in model.aspired, self._retry_interval
            )

    def _settle(
        self,
        version: Version,
        state: State,
        *,
        servable: Servable | None = None,
        failure: Status | None = None,
    ) -> None:
        with self._changed:
            self._enter(version, state)
            version.servable, version.failure = servable, failure
            is_late = self._stopping
            self._changed.notify_all()
        self._tell_waiting()
        if is_late:
            self._end(version)

    def _end(self, version: Version) -> None:
        with self._changed:
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
            event(logging.INFO, "unloaded", model=version.model, version=version.number)
        with self._changed:
            self._enter(version, State.END)
            version.replaceable = True
            self._changed.notify_all()
