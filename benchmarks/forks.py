"""Forks, interrupts and event loops around calls, a hundred times each: the client beside a bare gRPC channel."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _wire
from benchmarks._report import Report

TIMES = int(os.environ.get("TIMES", "100"))
TIMEOUT = 1.0  # of a call, in seconds
LATE = 1.0  # what a call may take beyond its timeout
PATIENCE = 30.0  # for the next word of a program: TensorFlow's start is in it
FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
RIGHT, REFUSED, FAILED, HANGS, CRASHES = OUTCOMES = ("right", "refused at once", "failed", "hangs", "crashes")

# Words on standard output, one line each: how a call after the event ended.
COMMON = f"""
import asyncio, os, select, signal, sys, tempfile, threading, time
import numpy as np
import gradwire
from gradwire._wire import PredictCodec

target, times = sys.argv[1], int(sys.argv[2])
SMALL, LARGE = np.array([2.0]), np.ones(500_000)


def ended(call):
    # How a call ends that should give log 2.
    began = time.monotonic()
    try:
        word = "{RIGHT}" if call() else "{FAILED}"
    except gradwire.UsageError:
        word = "{REFUSED}"
    except Exception:
        word = "{FAILED}"
    return word if time.monotonic() - began < {TIMEOUT + LATE} else "{HANGS}"


def in_child(call):
    # How it ends in a forked child.
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        os.write(sink, ended(call).encode())
        os._exit(0)
    os.close(sink)
    is_ready = select.select([source], [], [], {TIMEOUT + 2 * LATE})[0]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    text = os.read(source, 100).decode() if is_ready else "{HANGS}"
    os.close(source)
    return text or "{CRASHES}"


def say(*words):
    print(max(words, key={OUTCOMES}.index), flush=True)
"""

OURS = f"""
from gradwire import aio
model = gradwire.connect(target, "log", timeout={TIMEOUT})
large = lambda: model.value(LARGE)
small = lambda: float(model.value(2.0)) == np.log(2.0)

async def small_in_loop():
    global in_loop
    if in_loop is None:
        in_loop = await aio.connect(target, "log", timeout={TIMEOUT})
    return float(await in_loop.value(2.0)) == np.log(2.0)

in_loop = None
assert small()
"""

# What anybody writes with gRPC alone: requests made beforehand, one channel, the deadline given to gRPC.
BARE = f"""
import grpc
from gradwire._wire import proto
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
with gradwire.connect(target, "log") as ours:
    codec = PredictCodec(gradwire.Address("any:1", "log"))
    requests = [codec.request(ours._requests.build("value", (), {{"x": x}}).call) for x in (SMALL, LARGE)]
call = grpc.insecure_channel(target, UNLIMITED).unary_unary("{_wire.PREDICT}")
large = lambda: call(requests[1], timeout={TIMEOUT})
reply = call(requests[0], timeout={TIMEOUT})
small = lambda: call(requests[0], timeout={TIMEOUT}) == reply

async def small_in_loop():
    global in_loop
    if in_loop is None:
        in_loop = grpc.aio.insecure_channel(target).unary_unary("{_wire.PREDICT}")
    return await in_loop(requests[0], timeout={TIMEOUT}) == reply

in_loop = None
"""

IDLE = """
for _ in range(times):
    say(in_child(small), ended(small))
"""

BUSY = """
def keep_calling():
    while True:
        try:
            small()
        except Exception:
            pass

for _ in range(4):
    threading.Thread(target=keep_calling, daemon=True).start()
for _ in range(times):
    say(in_child(small), ended(small))
os._exit(0)
"""

INTERRUPTS = """
is_armed = False
def interrupt(*_):
    if is_armed:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
moments, left = np.random.default_rng(0), times
while left:
    interrupted = False
    signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0005, 0.02))
    try:
        is_armed = True
        large()
    except KeyboardInterrupt:
        interrupted = True
    except Exception:
        pass
    finally:
        is_armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    if interrupted:
        say(ended(small), FORKED)
        left -= 1
os._exit(0)
"""

LOOPS = """
say(*(ended(lambda: asyncio.run(small_in_loop())) for _ in range(2)))
for _ in range(times - 1):
    say(ended(lambda: asyncio.run(small_in_loop())))
os._exit(0)
"""

LOOP_AND_FORK = """
assert asyncio.run(small_in_loop())
for _ in range(times):
    say(in_child(lambda: asyncio.run(small_in_loop())))
os._exit(0)
"""

SERVER = """
from pathlib import Path
from gradwire_serving import EmbeddedServer, ServerOptions
server = EmbeddedServer(ServerOptions(directory=Path(sys.argv[3]), port=0))
server.start()
target = server.address
"""


@dataclass(frozen=True)
class Case:
    """An event, the program that repeats it, and its environment."""

    title: str
    program: str
    environment: Mapping[str, str] = field(default_factory=dict)
    has_server: bool = False  # whether the server is in the same process


CASES = (
    Case("a fork", IDLE),
    Case("a fork while four threads call", BUSY),
    Case(f"a fork with {FORK_SUPPORT}=0", IDLE, {FORK_SUPPORT: "0"}),
    Case("Ctrl-C in a call of 500,000 rows", INTERRUPTS.replace("FORKED", "")),
    Case("the same, then a fork", INTERRUPTS.replace("FORKED", "in_child(small)")),
    Case("Ctrl-C, the server in the same process", INTERRUPTS.replace("FORKED", ""), has_server=True),
    Case("another event loop, asyncio.run again", LOOPS),
    Case("a fork after an event loop, asyncio in the child", LOOP_AND_FORK),
)


def main(*, write: bool) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder, _wire.servers(folder) as servers:
        for case in CASES:
            for side, preamble in (("gradwire", OURS), ("bare gRPC", BARE)):
                outcomes = _repeat(case, preamble, servers.embedded, folder)
                rows.append([case.title, side, *(str(outcomes[name]) for name in OUTCOMES)])
                print(*rows[-1], sep=" | ", file=sys.stderr)
    Report(
        name="forks",
        title="Calls after forks, interrupts and in event loops",
        method=(
            f"How a call of one row ends after each of {TIMES} events, in the parent and, after a fork, in the child: the "
            f"worse of both counts. Its timeout is {TIMEOUT:g} s, and it hangs where it takes {LATE:g} s longer. Bare "
            "gRPC: ready-made requests through one channel, with the same timeout. A program that says no more is killed, "
            "counted, and started again for the rest. The server is the embedded one."
        ),
        columns=["event", "client", *OUTCOMES],
        rows=rows,
    ).show(write=write)


def _repeat(case: Case, preamble: str, target: str, folder: str) -> Counter[str]:
    """Run the program until the event has happened as often as it should; counts how the calls ended."""
    outcomes = Counter[str]()
    program = Path(folder, "program.py")
    program.write_text("".join([COMMON, SERVER if case.has_server else "", preamble, case.program]))
    environment = {name: value for name, value in os.environ.items() if name != FORK_SUPPORT}
    while (left := TIMES - outcomes.total()) > 0:
        process = subprocess.Popen(
            [sys.executable, str(program), target, str(left), folder],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**environment, **case.environment},
        )  # fmt: skip
        for _ in range(left):
            if word := _next_line(process):
                outcomes[word] += 1
                continue
            outcomes[CRASHES if process.poll() is not None else HANGS] += 1
            break
        process.kill()
        process.wait()
    return outcomes


def _next_line(process: subprocess.Popen[bytes]) -> str:
    """A line that a program prints; empty where it ends, or is silent for too long."""
    assert process.stdout is not None
    line, until = b"", time.monotonic() + PATIENCE
    while not line.endswith(b"\n") and select.select([process.stdout], [], [], max(0, until - time.monotonic()))[0]:
        if not (data := os.read(process.stdout.fileno(), 1)):
            return ""
        line += data
    return line.decode().strip() if line.endswith(b"\n") else ""
