"""The server under load: calls a second and latencies beside a bare echo, with and without batching; or any server."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

import gradwire
from benchmarks import _wire
from benchmarks._report import Measured, Report
from benchmarks._wire import ROWS
from benchmarks.client import points_of
from gradwire import Address
from gradwire._wire import PredictCodec

IN_FLIGHT = (1, 8, 64)
ROUNDS = 3  # of all servers in turn, so that what else the machine does meets each of them
SECONDS = 0.5  # of one load in one round
WARM_UP = 3  # calls
# Seconds for one call. A call that meets a server's shutdown may never end, and one without a limit would then hold the
# benchmark for ever.
TIMEOUT = 30.0
METHOD = (
    f"Ready-made requests from bare stubs in one process on the same cores; {ROUNDS} rounds of {SECONDS} s each, all "
    "servers in turn, medians (range). The echo returns as many bytes as the server. In process: gradwire.load, one call "
    f"at a time. A call that fails, or takes {TIMEOUT:g} s, ends the benchmark."
)
COLUMNS = (
    "rows",
    "in flight",
    "server",
    "calls a second",
    "p50 ms",
    "p99 ms",
    "rows a second",
    "p50 / echo's",
    "rate / echo's",
)

Call = Callable[[bytes], Any]


@dataclass
class Load:
    """One server's calls of one size, and what was measured of them, a value a round."""

    name: str
    call: Any  # a stub; in process, a function of the request
    request: bytes
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def run(self, in_flight: int, seconds: float) -> None:
        """Measure a round."""
        if in_flight == 1:
            elapsed, latencies = _one_by_one(lambda: self.call(self.request, timeout=TIMEOUT), seconds)
        else:
            elapsed, latencies = _in_flight(self.call, self.request, in_flight, seconds)
        self.rates.append(len(latencies) / elapsed)
        self.p50.append(1e3 * float(np.quantile(latencies, 0.5)))
        self.p99.append(1e3 * float(np.quantile(latencies, 0.99)))

    def row(self, rows: int, in_flight: int, echo: Load) -> list[str | Measured]:
        """Return its row of the table."""
        rate = Measured(tuple(self.rates))
        return [
            f"{rows:,}",
            str(in_flight),
            self.name,
            f"{rate.median:,.0f} ({min(self.rates):,.0f} to {max(self.rates):,.0f})",
            Measured(tuple(self.p50)),
            Measured(tuple(self.p99)),
            f"{rate.median * rows:,.0f}",
            f"{Measured(tuple(self.p50)).median / Measured(tuple(echo.p50)).median:.2f}",
            f"{rate.median / Measured(tuple(echo.rates)).median:.2f}",
        ]


def main(*, write: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, _wire.served(folder) as servers, _wire.echo_server() as echo:
        for model in (_wire.LOG, _wire.NETWORK, _wire.ODE):
            with gradwire.load(Path(folder) / model) as local:
                table = _measure({"plain": servers.plain, "batching": servers.batching}, model, echo, local)
            Report(
                name=f"serving_{model}",
                title=f"The embedded server: {_wire.WHAT[model]}",
                method=METHOD,
                columns=COLUMNS,
                rows=table,
            ).show(write=write)


def against(target: str, model: str, *, write: bool) -> None:
    """Measure calls of a model on any server, beside an echo on this machine."""
    with _wire.echo_server() as echo:
        table = _measure({target: target}, model, echo)
    Report(name="serving_target", title=f"{model} at {target}", method=METHOD, columns=COLUMNS, rows=table).show(
        write=write
    )


def _measure(
    targets: dict[str, str], model: str, echo: str, local: gradwire.Model | None = None
) -> list[list[str | Measured]]:
    table = []
    with ExitStack() as stack:
        first = stack.enter_context(gradwire.connect(next(iter(targets.values())), model))
        stubs = {name: _stub(stack, target, _wire.PREDICT) for name, target in targets.items()}
        echoed = _stub(stack, echo, _wire.SIZED)
        for rows in ROWS:
            inputs = points_of(first, rows)
            call = first._requests.build("value_and_grad", (), inputs).call
            request = PredictCodec(Address("any:1", model)).request(call)
            response = next(iter(stubs.values()))(request, timeout=TIMEOUT)
            for in_flight in IN_FLIGHT:
                loads = [Load("echo", echoed, _wire.sized(request, response))]
                loads += [Load(name, stub, request) for name, stub in stubs.items()]
                if local is not None and in_flight == 1:
                    loads.append(Load("in process", lambda _, timeout, x=inputs: local.value_and_grad(**x), b""))
                _interleaved(loads, in_flight)
                table += [load.row(rows, in_flight, loads[0]) for load in loads]
    return table


def _stub(stack: ExitStack, target: str, method: str) -> grpc.UnaryUnaryMultiCallable:
    return stack.enter_context(grpc.insecure_channel(target, _wire.UNLIMITED)).unary_unary(method)


def _interleaved(loads: Sequence[Load], in_flight: int) -> None:
    for load in loads:
        for _ in range(WARM_UP):
            load.call(load.request, timeout=TIMEOUT)
    for turn in range(ROUNDS):
        for index in range(len(loads)):
            loads[(turn + index) % len(loads)].run(in_flight, SECONDS)


def _one_by_one(call: Callable[[], object], seconds: float) -> tuple[float, list[float]]:
    latencies = []
    began = now = time.perf_counter()
    while now - began < seconds:
        call()
        latencies.append(time.perf_counter() - now)
        now += latencies[-1]
    return now - began, latencies


def _in_flight(stub: Any, request: bytes, count: int, seconds: float) -> tuple[float, list[float]]:
    """Keep that many calls under way; those that end start the next, in gRPC's own thread."""
    latencies: list[float] = []
    ends: list[float] = []
    ended = threading.Semaphore(0)
    began = time.perf_counter()

    def start() -> None:
        at = time.perf_counter()
        future = stub.future(request, timeout=TIMEOUT)
        future.add_done_callback(lambda done: finish(done, at))

    def finish(done: grpc.Future, at: float) -> None:
        now = time.perf_counter()
        latencies.append(now - at)
        ends.append(now)
        if done.code() is grpc.StatusCode.OK and now - began < seconds:
            start()
        else:
            failed.extend([done] * (done.code() is not grpc.StatusCode.OK))
            ended.release()

    failed: list[grpc.Future] = []
    for _ in range(count):
        start()
    for _ in range(count):
        if not ended.acquire(timeout=TIMEOUT + seconds):
            raise TimeoutError(f"of {count} calls in flight some did not end in {TIMEOUT:g} s")
    if failed:
        raise failed[0].exception()
    return max(ends) - began, latencies
