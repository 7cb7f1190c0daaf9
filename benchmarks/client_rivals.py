"""Value and derivative of log x over the wire: ours and the rivals from the registry, each with its own server.

``make bench-rivals`` builds the rivals' environments; one that is missing, or does not start, is a row that says so.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import _wire
from benchmarks._report import Report
from benchmarks._rivals import WIRE_RIVALS, Driver, started
from benchmarks._wire import ROWS

TURNS = {1: 40, 64: 40, 4_096: 30, 262_144: 7}  # of each system, the order rotated from turn to turn
CALLS = {1: 10, 64: 10, 4_096: 10, 262_144: 3}  # in a turn, after one or more that warm up
QUARTILES = 4
ECHO = "bare gRPC echo"
MISSING = "not installed: make bench-rivals"
TOLERANCE = 1e-12  # an answer that is further off is a failure, however quick


@dataclass
class System:
    """A system: ``turn`` makes calls and returns their ms; what it raises is its row."""

    label: str
    turn: Callable[[int, int], list[float]]
    times: dict[int, list[float]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    def take(self, rows: int, calls: int) -> None:
        if rows in self.failures:
            return
        try:
            self.times.setdefault(rows, []).extend(self.turn(rows, calls))
        except RuntimeError as error:
            self.failures[rows] = str(error)


def main(*, write: bool) -> None:
    drivers = started(WIRE_RIVALS)
    try:
        with tempfile.TemporaryDirectory() as folder, _wire.servers(folder) as servers:
            targets = {ECHO: servers.echo}
            systems = [
                System(_named(driver), _asked(driver, targets.get(label, servers.embedded)))
                for label, driver in drivers.items()
            ]
            _run(systems)
    finally:
        for driver in drivers.values():
            driver.close()
    missing = [rival.label for rival in WIRE_RIVALS if rival.label not in drivers]
    _report(systems, missing).show(write=write)


def _run(systems: Sequence[System]) -> None:
    for rows in ROWS:
        for turn in range(TURNS[rows]):
            for index in range(len(systems)):
                systems[(turn + index) % len(systems)].take(rows, CALLS[rows])


def _asked(driver: Driver, target: str) -> Callable[[int, int], list[float]]:
    def turn(rows: int, calls: int) -> list[float]:
        answer = driver.ask(rows=rows, calls=calls, target=target)
        if answer is None or "failed" in answer:
            raise RuntimeError(driver.failure if answer is None else f"failed: {answer['failed']}")
        if not answer["error"] <= TOLERANCE:
            raise RuntimeError(f"wrong by {answer['error']:.1e}")
        return answer["ms"]

    return turn


def _named(driver: Driver) -> str:
    if not driver.versions:
        return driver.rival.label
    package, version = next(iter(driver.versions.items()))
    return f"{driver.rival.label} ({package} {version})"


def _report(systems: Sequence[System], missing: Sequence[str]) -> Report:
    return Report(
        name="client_rivals",
        title="Value and derivative of log x over the wire, float64, against the rivals",
        method=(
            "ms a call: median (quartiles), and how many times the median of a bare gRPC echo of the same bytes (8 a row "
            "out, 16 back; Python on both sides). Every client has a process of its own. Every system serves log x and 1/x in closed form on this machine, one "
            "client, one call at a time; turns of a few calls, interleaved, the order rotated. Ours is a package made "
            "from a tf.function on the embedded server. A rival returns f and 1/x as two outputs of one call, where its "
            "users make two calls or get a dense Jacobian: the cheapest that it has (benchmarks/rivals/*_driver.py). "
            + _verdict(systems)
        ),
        columns=["way", *(f"n = {rows:,}" for rows in ROWS)],
        rows=[
            *([system.label, *(_cell(system, systems[0], rows) for rows in ROWS)] for system in systems),
            *([label, *[MISSING] * len(ROWS)] for label in missing),
        ],
        data={system.label: {rows: _rounded(system.times.get(rows, [])) for rows in ROWS} for system in systems},
    )


def _cell(system: System, echo: System, rows: int) -> str:
    if rows in system.failures:
        return system.failures[rows]
    low, middle, high = statistics.quantiles(system.times[rows], n=QUARTILES)
    ratio = middle / statistics.median(echo.times[rows])
    return f"{middle:.3g} ({low:.3g} to {high:.3g}), {ratio:.2g} times"


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _verdict(systems: Sequence[System]) -> str:
    """Say where a rival is quicker, if anywhere."""
    _, ours, *rivals = systems
    lost = [
        f"{rival.label} at n = {rows:,}"
        for rival in rivals
        for rows in ROWS
        if rows not in rival.failures and statistics.median(rival.times[rows]) <= statistics.median(ours.times[rows])
    ]
    if not rivals:
        return "No rival ran."
    return f"Quicker than ours: {'; '.join(lost)}." if lost else "Ours is ahead of every rival that ran, at every n."
