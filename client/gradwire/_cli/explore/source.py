"""Where the versions of a model come from, a server or a directory, and which of them a choice means."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from typing_extensions import override

from gradwire._cli.io import Connection, open_model
from gradwire._errors import ModelNotFound, UsageError
from gradwire._model import Model
from gradwire._package import GRAPH_FILE, find_package, version_directories, version_number
from gradwire._wire import VersionStatus

AVAILABLE: Final = "AVAILABLE"
POLL_TIMEOUT: Final = 5.0  # seconds for the state of the versions; a server that is gone is told at once
CALL_TIMEOUT: Final = 10.0  # seconds for a call, where the user gives none: somebody looks at the page and waits
MOST_OPEN: Final = 6  # versions that stay open, each with a connection or a loaded package of its own
FRESH: Final = 0.5  # seconds for which the number behind "newest" or a label holds: views come faster than swaps
LABEL: Final = "label:"


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """Which version is shown: the newest, one by its number, or whichever has a label."""

    version: int | None = None
    label: str | None = None

    @classmethod
    def read(cls, text: str) -> Choice:
        """Read ``"newest"``, ``"3"`` or ``"label:stable"``.

        Raises:
            UsageError: it is none of these.
        """
        if text == "newest":
            return cls()
        if text.startswith(LABEL) and len(text) > len(LABEL):
            return cls(label=text.removeprefix(LABEL))
        if text.isascii() and text.isdecimal():
            return cls(version=int(text))
        raise UsageError(f"version {text!r}, expected 'newest', a number, or '{LABEL}NAME'")

    def __str__(self) -> str:
        if self.label is not None:
            return f"{LABEL}{self.label}"
        return "newest" if self.version is None else str(self.version)


class Source(ABC):
    """The versions of one model.

    Whatever is computed for a view comes from one version: a choice is resolved to a number first, and the model of
    that number is opened, once.

    Args:
        name: of the model, for people.
        first: what is shown first.
    """

    def __init__(self, name: str, first: Choice) -> None:
        self.name = name
        self.first = first
        self._models: OrderedDict[int, Model] = OrderedDict()
        self._resolved: dict[Choice, tuple[float, int]] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def versions(self) -> list[VersionStatus]:
        """Return the state of every version, the newest first.

        Raises:
            GradwireError: the server does not respond.
        """

    @abstractmethod
    def labelled(self, label: str) -> int:
        """Return the version that has a label now.

        Raises:
            GradwireError: none has, or the server does not respond.
        """

    @abstractmethod
    def words(self, choice: Choice) -> tuple[list[str], str]:
        """Return how a user reaches a choice: the words of a command, and Python that makes a ``Model``."""

    @abstractmethod
    def _open(self, version: int) -> Model: ...

    def resolve(self, choice: Choice) -> int:
        """Return the number of the version that a choice means now.

        Raises:
            GradwireError: there is none, or the server does not respond.
        """
        if choice.version is not None:
            return choice.version
        now = time.monotonic()
        since, version = self._resolved.get(choice, (-FRESH, 0))
        if now - since >= FRESH:
            version = self._newest() if choice.label is None else self.labelled(choice.label)
            self._resolved[choice] = (now, version)
        return version

    def _newest(self) -> int:
        available = [row.version for row in self.versions() if row.state == AVAILABLE]
        if not available:
            raise ModelNotFound(
                f"{self.name} has no version that is available: wait for one, or export the model again"
            )
        return max(available)

    def forget(self) -> None:
        """Open everything afresh at the next call: a server that was away may serve something else now."""
        with self._lock:
            self._resolved.clear()
            for model in self._models.values():
                model.close()
            self._models.clear()

    def model(self, version: int) -> Model:
        """Return the model of a version, opened once.

        Raises:
            GradwireError: it cannot be opened.
        """
        with self._lock:
            if version not in self._models:
                self._models[version] = self._open(version)
            self._models.move_to_end(version)
            if len(self._models) > MOST_OPEN:
                _, oldest = self._models.popitem(last=False)
                oldest.close()
            return self._models[version]

    def close(self) -> None:
        """Release every connection and package."""
        self.forget()


@final
class ServerSource(Source):
    """The versions of a model on a server; a wrong address or name fails here.

    Args:
        target: the address.
        name: of the model there.
        connection: how to reach it; its version or label is what is shown first.
    """

    def __init__(self, target: str, name: str, connection: Connection) -> None:
        version, label = connection.chosen()
        if version is not None and label is not None:
            raise UsageError(f"version {version} and label {label!r}, expected one of them: leave the other out")
        super().__init__(name, Choice(version, label))
        self._target = target
        seconds = CALL_TIMEOUT if connection.timeout is None else connection.timeout
        self._connection = replace(connection, version=None, label=None, timeout=seconds)
        self._watches: dict[str | None, Model] = {None: self._watch(None)}

    @override
    def versions(self) -> list[VersionStatus]:
        return sorted(self._watches[None].status(), key=lambda row: -row.version)

    @override
    def labelled(self, label: str) -> int:
        if label not in self._watches:
            self._watches[label] = self._watch(label)
        with self._watches[label].pinned() as pinned:  # the status has no labels; where a call goes tells
            if pinned.version is None:
                raise ModelNotFound(f"the server does not say which version of {self.name} has the label {label!r}")
            return pinned.version

    @override
    def words(self, choice: Choice) -> tuple[list[str], str]:
        options = self._connection.words()
        python = f"{self._target!r}, {self.name!r}"
        if choice.version is not None:
            options, python = [*options, f"--version={choice.version}"], f"{python}, version={choice.version}"
        if choice.label is not None:
            options, python = [*options, f"--label={choice.label}"], f"{python}, label={choice.label!r}"
        return [self._target, self.name, *options], f"gradwire.connect({python}{self._connection.python()})"

    @override
    def close(self) -> None:
        super().close()
        for model in self._watches.values():
            model.close()

    @override
    def _open(self, version: int) -> Model:
        return replace(self._connection, version=version).connect(self._target, self.name)

    def _watch(self, label: str | None) -> Model:
        seconds = min(POLL_TIMEOUT, self._connection.seconds)
        return replace(self._connection, label=label, timeout=seconds).connect(self._target, self.name)


@final
class DirectorySource(Source):
    """The versions of a package's directory, loaded into this process; one that is exported meanwhile is seen.

    Args:
        target: the directory, ``models/log``, or one of its versions, ``models/log/3``.
        connection: for the timeout.
    """

    def __init__(self, target: str, connection: Connection) -> None:
        connection.require_unused(target)
        package = find_package(target)
        super().__init__(package.parent.name, Choice())
        self._target = Path(target)
        is_version = (self._target / GRAPH_FILE).is_file()
        self._alone = version_number(package.name) or 0 if is_version else None
        self._connection = connection

    @override
    def versions(self) -> list[VersionStatus]:
        numbers = [self._alone] if self._alone is not None else sorted(version_directories(self._target), reverse=True)
        return [VersionStatus(number, AVAILABLE, "") for number in numbers]

    @override
    def labelled(self, label: str) -> int:
        raise UsageError(f"label {label!r}, and {self._target} is a directory: only servers have labels; give a number")

    @override
    def words(self, choice: Choice) -> tuple[list[str], str]:
        path = str(self._target if choice.version is None else self._path(choice.version))
        return [path], f"gradwire.load({path!r})"

    @override
    def _open(self, version: int) -> Model:
        return open_model(str(self._path(version)), None, connection=self._connection)

    def _path(self, version: int) -> Path:
        if version == self._alone:
            return self._target
        directories = {} if self._alone is not None else version_directories(self._target)
        if version not in directories:
            raise ModelNotFound(f"{self._target} has no version {version}: it has {sorted(directories)}")
        return self._target / directories[version].name


def source_of(target: str, name: str | None, connection: Connection) -> Source:
    """Return the source of a model by its address and name, or by the directory of its package.

    Raises:
        UsageError: an address without a name, or a directory with one or with options of a connection.
        GradwireError: it cannot be reached.
    """
    if Path(target).is_dir():
        if name is not None:
            raise UsageError(f"{target} is a directory, which takes no model name, and got {name!r}: leave it out")
        return DirectorySource(target, connection)
    if name is None:
        raise UsageError(f"{target} is not a directory; for an address name the model too: {target} NAME")
    return ServerSource(target, name, connection)
