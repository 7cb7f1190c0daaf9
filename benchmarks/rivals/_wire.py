"""What the drivers of the client's rivals share: the server's process, the clock, and the talk with the benchmark.

A driver runs in its rival's own environment, which holds NumPy and nothing of Gradwire. It starts itself a second time,
with ``--serve PORT``, as the rival's server, and answers lines of JSON about the calls that it makes of it:

    {"rows": 64, "calls": 10, "target": "127.0.0.1:8500"}
    {"ms": […], "error": 1e-16}      or      {"failed": "why"}

``target`` is where Gradwire's embedded server listens, for a driver that has no server of its own. ``error`` is the
largest relative error of f = log x and df/dx = 1/x: the clock is worth nothing where the answer is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 6  # the benchmark waits for 10
WARM_UP = 2  # calls of a size before the first that counts; later turns have one


class System(Protocol):
    """A way to serve log x and 1/x and to call them. One that has no server leaves ``serve`` to None."""

    packages: tuple[str, ...]

    def serve(self, port: int) -> None:
        """Serve until it is killed; runs in a process of its own."""
        ...

    def connect(self, target: str) -> None:
        """Open a client; raises whatever it likes while the server is not yet there."""
        ...

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Call for f and df/dx at x (rows,), float64; each (rows,)."""
        ...


def run(system: System, *, has_server: bool = True) -> None:
    """Is the server, or answers the benchmark until it closes the pipe."""
    if sys.argv[1:2] == ["--serve"]:
        system.serve(int(sys.argv[2]))
        return
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to standard error: standard output is for answers
    sys.stdout = sys.stderr
    print(json.dumps({package: version(package) for package in system.packages}), file=answers)
    port = _free_port()
    command = [sys.executable, sys.argv[0], "--serve", str(port)]
    server = subprocess.Popen(command, start_new_session=True) if has_server else None
    try:
        _answer(system, server, port, answers)
    finally:
        if server is not None:
            _stop(server)


def _answer(system: System, server: subprocess.Popen[bytes] | None, port: int, answers: Any) -> None:
    failed, warm, is_open = "", set[int](), False
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if not is_open and not failed:
                _open(system, server, request["target"] if server is None else f"{HOST}:{port}")
                is_open = True
            if failed:
                answer: dict[str, Any] = {"failed": failed}
            else:
                answer = _timed(system, request["rows"], request["calls"], warm)
        except Exception as error:  # noqa: BLE001 - whatever a rival raises is its row
            answer = {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
            failed = "" if is_open else answer["failed"]
        print(json.dumps(answer), file=answers)


def _open(system: System, server: subprocess.Popen[bytes] | None, target: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return system.connect(target)
        except Exception:
            if server is not None and server.poll() is not None:
                raise RuntimeError(f"its server ended with exit code {server.returncode}") from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _timed(system: System, rows: int, calls: int, warm: set[int]) -> dict[str, Any]:
    x = np.linspace(0.1, 1.9, rows)
    for _ in range(1 if rows in warm else WARM_UP):
        f, df_dx = system.both(x)
    warm.add(rows)
    error = max(float(np.abs(f - np.log(x)).max()), float(np.abs(df_dx * x - 1).max()))
    times: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        system.both(x)
        times.append(1e3 * (time.perf_counter() - began))
    return {"ms": times, "error": error}


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server, and after a while whatever it has started."""
    server.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
