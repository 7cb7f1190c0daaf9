"""The Manager's patience with versions that cannot be loaded; the rest of its life is in tests/conformance."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from gradwire._errors import ServerError
from gradwire_serving._core.manager import Manager, State
from gradwire_serving._core.status import Status

BAD = Status("DATA_LOSS", "damaged")
AN_HOUR = 3600.0


class Loads:
    """A loader that fails, and remembers what it was asked for."""

    def __init__(self) -> None:
        self._paths: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def __call__(self, path: Path) -> Status:
        self._paths.put(path)
        return BAD

    def next(self) -> Path:
        return self._paths.get(timeout=60)

    @property
    def count(self) -> int:
        return self._paths.qsize()


def test_a_failed_load_is_tried_again_as_often_as_said():
    """One try and two more; then the version has ended, with its reason, and serves nobody."""
    loads = Loads()
    manager = Manager(loads, max_retries=2, retry_interval=0.0)
    manager.want("m", {1: Path("/m/1")})
    failed = manager.wait_until_settled(["m"])
    assert [(version.number, version.failure, version.state) for version in failed["m"]] == [(1, BAD, State.END)]
    assert loads.count == 3
    with pytest.raises(ServerError, match=r"Servable not found for request: Latest\(m\)"), manager.use("m"):
        pass
    manager.stop()


def test_a_version_that_is_no_longer_wanted_is_not_waited_for():
    """While a retry is an hour away, a newer version is loaded as soon as it takes the old one's place."""
    loads = Loads()
    manager = Manager(loads, max_retries=1, retry_interval=AN_HOUR)
    manager.want("m", {1: Path("/m/1")})
    assert loads.next() == Path("/m/1")
    manager.want("m", {2: Path("/m/2")})
    assert loads.next() == Path("/m/2")
    manager.stop()


def test_stopping_does_not_wait_for_a_retry():
    """A server that is stopped while a retry is an hour away stops now, and loads nothing more."""
    loads = Loads()
    manager = Manager(loads, max_retries=1, retry_interval=AN_HOUR)
    manager.want("m", {1: Path("/m/1")})
    assert loads.next() == Path("/m/1")
    manager.stop()
    manager.want("m", {2: Path("/m/2")})
    assert loads.count == 0


def test_a_version_that_failed_is_loaded_anew_after_it_was_gone():
    """Removed and put there again under its number, a version gets a new chance."""
    loads = Loads()
    manager = Manager(loads, max_retries=0, retry_interval=0.0)
    for _ in range(2):
        manager.want("m", {1: Path("/m/1")})
        manager.wait_until_settled(["m"])
        manager.want("m", {1: Path("/m/1")})  # still there: left alone
        manager.want("m", {})
    assert loads.count == 2
    manager.stop()
