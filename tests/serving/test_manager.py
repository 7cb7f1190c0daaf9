"""The Manager's retries of versions that cannot be loaded; the rest of its life is in tests/conformance."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradwire._errors import ServerError
from gradwire_serving._core import Code, Manager, State, Status, StatusError

BAD = Status(Code.DATA_LOSS, "damaged")
AN_HOUR = 3600.0
PATIENCE = 10.0  # seconds until a load that does not come counts as a failure


class Loads:
    """A loader that fails, and records its calls."""

    def __init__(self) -> None:
        self._paths: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def __call__(self, path: Path) -> None:
        self._paths.put(path)
        raise StatusError(BAD.code, BAD.message)

    def next(self) -> Path:
        return self._paths.get(timeout=PATIENCE)

    @property
    def count(self) -> int:
        return self._paths.qsize()


@pytest.fixture
def loads() -> Loads:
    """The loader of the test's Manager."""
    return Loads()


@pytest.fixture
def manage(loads: Loads) -> Iterator[Callable[[int, float], Manager]]:
    """Makes a Manager by its retries and their interval, and stops it however the test ends: a retry may be far off."""
    managers = []

    def make(max_retries: int, retry_interval: float) -> Manager:
        managers.append(Manager(loads, max_retries=max_retries, retry_interval=retry_interval))
        return managers[-1]

    yield make
    for manager in managers:
        manager.stop()


def test_a_failed_load_is_retried_as_often_as_configured(manage, loads: Loads):
    """One attempt and two more; then the version has ended, with its reason, and serves nobody."""
    manager = manage(2, 0.0)
    manager.aspire("m", {1: Path("/m/1")})
    failed = manager.wait_until_settled(["m"])
    assert [(version.number, version.failure, version.state) for _, version in failed] == [(1, BAD, State.END)]
    assert loads.count == 3
    with pytest.raises(ServerError, match=r"Servable not found for request: Latest\(m\)"), manager.use("m"):
        pass


def test_a_version_that_is_no_longer_aspired_is_not_waited_for(manage, loads: Loads):
    """While a retry is an hour away, a newer version is loaded as soon as it takes the old one's place."""
    manager = manage(1, AN_HOUR)
    manager.aspire("m", {1: Path("/m/1")})
    assert loads.next() == Path("/m/1")
    manager.aspire("m", {2: Path("/m/2")})
    assert loads.next() == Path("/m/2")


def test_stopping_does_not_wait_for_a_retry(manage, loads: Loads):
    """A server that is stopped while a retry is an hour away stops now, and loads nothing more."""
    manager = manage(1, AN_HOUR)
    manager.aspire("m", {1: Path("/m/1")})
    assert loads.next() == Path("/m/1")
    manager.stop()
    manager.aspire("m", {2: Path("/m/2")})
    assert loads.count == 0


def test_a_version_that_failed_is_loaded_anew_after_it_was_gone(manage, loads: Loads):
    """Removed and put there again under its number, a version gets a new chance."""
    manager = manage(0, 0.0)
    for _ in range(2):
        manager.aspire("m", {1: Path("/m/1")})
        manager.wait_until_settled(["m"])
        manager.aspire("m", {1: Path("/m/1")})  # still there: left alone
        manager.aspire("m", {})
    assert loads.count == 2


def test_a_loader_that_breaks_ends_the_version(manage, monkeypatch: pytest.MonkeyPatch):
    """Whatever a load raises is the version's failure: a start that waits for it does not wait forever."""
    monkeypatch.setattr(Loads, "__call__", lambda _loads, _path: 1 / 0)
    manager = manage(0, 0.0)
    manager.aspire("m", {1: Path("/m/1")})
    ((_, version),) = manager.wait_until_settled(["m"])
    assert version.failure == Status(Code.UNKNOWN, "division by zero")
