"""Forks, interrupts and event loops around the call: an answer, or a sentence, never a hang."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
from gradwire import aio
from gradwire._grpc import fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

IS_OLD = tuple(int(part) for part in grpc.__version__.split(".")[:2]) < (1, 80)
NEEDED = {"GRPC_ENABLE_FORK_SUPPORT": "1"} if IS_OLD else {}

START = """
import os, select, signal, sys, threading, time
import numpy as np
import gradwire
from gradwire._grpc import fork

log = gradwire.connect(sys.argv[1], "log", timeout=5.0)
assert log.value(1.0) == 0.0


def in_child(work):
    # What the work returns in a forked child, as text; "hangs" after twice the timeout.
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        try:
            text = str(work())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(sink, text.encode())
        os._exit(0)
    os.close(sink)
    is_ready = select.select([source], [], [], 10.0)[0]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return (os.read(source, 1000).decode() or "crashes") if is_ready else "hangs"


def call():
    began = time.monotonic()
    value = float(log.value(2.0))
    return value == np.log(2.0) and time.monotonic() - began < 5
"""

BUSY = """
stop = threading.Event()
def keep_calling():
    while not stop.is_set():
        log.value(np.ones(100))
threads = [threading.Thread(target=keep_calling) for _ in range(4)]
for thread in threads:
    thread.start()
print({in_child(call) for _ in range(15)}, end=" ")
stop.set()
for thread in threads:
    thread.join()
print(call())
"""

SWITCHED_OFF = "print(in_child(call)); print(call())"

SLOW = """
fork.GATE.enter("a call that takes long")
fork.LONGEST_WAIT = 0.1
print(in_child(call)); print(call())
"""

IN_A_LOOP = """
import asyncio
from gradwire import aio

async def again():
    return bool(await model.value(2.0) == np.log(2.0))

async def first():
    global model
    model = await aio.connect(sys.argv[1], "log", timeout=5.0)
    return await again()

is_right = asyncio.run(first())
print(in_child(lambda: asyncio.run(again())))
print(is_right, asyncio.run(again()), in_child(call))
"""

INTERRUPTED = """
def interrupt(*_):
    if armed:
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
x, generator, interrupted, armed = np.ones(500_000), np.random.default_rng(0), 0, False
for _ in range(12):
    signal.setitimer(signal.ITIMER_REAL, generator.uniform(0.001, 0.03))
    try:
        armed = True
        log.value(x)
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        armed = False  # no call, so no signal is handled before it
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert call()
print(interrupted > 0, *([] if "GRPC_ENABLE_FORK_SUPPORT" in os.environ else [in_child(call)]))
"""


def run(script: str, target: str, tmp_path: Path, **environment: str) -> str:
    """Runs a program against a server; returns what it prints."""
    (tmp_path / "program.py").write_text(START + script)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", target],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, **NEEDED, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_fork_waits_for_the_calls_of_other_threads(stand_in: Any, tmp_path: Path):
    """GRPC lets a fork happen in the middle of them, and of forty children seven hung or crashed."""
    assert run(BUSY, stand_in.target, tmp_path) == "{'True'} True"


def test_a_fork_that_grpc_was_told_not_to_expect(stand_in: Any, tmp_path: Path):
    """The child is told at once; it would hang beyond every timeout. The parent goes on."""
    shown = run(SWITCHED_OFF, stand_in.target, tmp_path, GRPC_ENABLE_FORK_SUPPORT="0").splitlines()
    assert shown[0].startswith("UsageError: this process was forked, and GRPC_ENABLE_FORK_SUPPORT=0 told gRPC")
    assert shown[1] == "True"


def test_a_call_that_takes_long_does_not_stop_a_fork(stand_in: Any, tmp_path: Path):
    """It happens, and the child's calls are refused, for nobody knows where gRPC was."""
    shown = run(SLOW, stand_in.target, tmp_path).splitlines()
    assert shown[0].startswith("UsageError: this process was forked while calls were under way that did not end within")
    assert shown[1] == "True"


def test_an_interrupt_leaves_no_channel_that_hangs(stand_in: Any, tmp_path: Path):
    """Ctrl-C at any place of a call in pieces: the next call is answered, here and in a child.

    With GRPC_ENABLE_FORK_SUPPORT=1 a child may hang in gRPC's own handler, before Python sees it.
    """
    assert run(INTERRUPTED, stand_in.target, tmp_path) == ("True" if IS_OLD else "True True")


@pytest.mark.skipif(IS_OLD, reason="grpcio before 1.80 crashes in such a child, before Python runs")
def test_event_loops_and_a_fork(stand_in: Any, tmp_path: Path):
    """A model of one loop works in a second one; in a child it is refused, and what is not asynchronous works."""
    shown = run(IN_A_LOOP, stand_in.target, tmp_path).splitlines()
    assert shown[0].startswith("UsageError: this process was forked after its parent had used grpc.aio")
    assert shown[1] == "True True True"


def test_the_gate_holds_calls_back_while_a_process_forks():
    """One that ends lets the fork happen; one that would begin waits until it has happened."""
    gate, events = fork.ForkGate(), []
    gate.enter("first")

    def fork_now() -> None:
        gate.before_fork()
        events.append("forked")
        time.sleep(0.05)
        events.append("done")
        gate.after_fork_in_parent()

    forking = threading.Thread(target=fork_now)
    forking.start()
    time.sleep(0.05)
    assert events == []
    gate.leave("first")
    gate.leave("first")
    time.sleep(0.01)
    gate.enter("second")
    events.append("second")
    forking.join()
    assert events == ["forked", "done", "second"]


class Silent:
    """A method of a channel that never answers, not even at its deadline."""

    def __init__(self) -> None:
        self.cancelled = 0

    def future(self, _: bytes, *, timeout: float, metadata: object) -> Silent:
        return self

    def add_done_callback(self, _: Any) -> None:
        """Never called."""

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.mark.slow
def test_a_channel_without_a_word_is_given_up(stand_in: Any):
    """No call outlasts its timeout by more than a second, whatever gRPC does; the next one has a channel of its own."""
    with gradwire.connect(stand_in.target, "log", timeout=0.5) as log:
        log.value(1.0)
        transport: Any = log._transport
        silent = transport._session.predict = Silent()
        began = time.monotonic()
        with pytest.raises(gradwire.DeadlineExceeded, match=r"0\.5"):
            log.value(np.ones(2_000_000))
        assert time.monotonic() - began < 1.5
        assert silent.cancelled == 3
        assert log.value(1.0) == 0


def test_a_model_in_two_loops_at_once_and_pickled(stand_in: Any):
    """Each has a channel of its own; a pickle has the address."""

    async def make() -> Any:
        return await aio.connect(stand_in.target, "log")

    async def ask(model: Any) -> float:
        return float(await model.value(2.0))

    model = asyncio.run(make())
    results: list[float] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(ask(model)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = pickle.loads(pickle.dumps(model))
    assert [*results, asyncio.run(ask(again))] == [np.log(2.0)] * 5
    assert again.card == model.card
