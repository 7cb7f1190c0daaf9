"""The servers that the client's benchmarks call: the embedded one with log x in closed form, and a bare gRPC echo."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from benchmarks._report import Measured

ROWS = (1, 64, 4_096, 262_144)
ECHO = "/bench.Echo/Echo"  # gives back what it gets, twice
SIZED = "/bench.Echo/Sized"  # gives back as many bytes as the first eight say, the least byte first
SIZE_BYTES = 8
DOMAIN = {"x": (0.1, 1.9)}
PREDICT = "/tensorflow.serving.PredictionService/Predict"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
LOG = "log"
NETWORK = "network"
ODE = "ode"
WHAT = {
    LOG: "value and derivative of log x in closed form, float64",
    NETWORK: "value and derivative of the network 1-20-20-1, float32",
    ODE: "value and derivative of y(1) of y' = sin 5t - y³, y(0) = x, in 200 steps, float32",
}
STEPS = 200
# Batches form while others are computed: nobody waits for company. One thread: while it computes, the next batch fills.
BATCHING = """max_batch_size { value: 1048576 } enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 65536 } batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 1000 } num_batch_threads { value: 1 }
"""


@dataclass(frozen=True)
class Servers:
    """Where they listen; the embedded one serves ``LOG`` and ``NETWORK``, on a port and on a unix socket."""

    embedded: str
    unix: str
    echo: str


@contextmanager
def servers(folder: str) -> Generator[Servers]:
    """Start both in a process of their own."""
    with _process(_serve, folder) as addresses:
        yield Servers(*addresses)


@dataclass(frozen=True)
class Served:
    """Where two embedded servers listen that serve ``LOG``, ``NETWORK`` and ``ODE``."""

    plain: str
    batching: str


@contextmanager
def served(folder: str) -> Generator[Served]:
    """Start them in a process of their own; only one is called at a time."""
    with _process(_serve_both, folder) as addresses:
        yield Served(*addresses)


@contextmanager
def echo_server() -> Generator[str]:
    """Start the echo alone, in a process of its own."""
    with _process(_serve_echo) as (address,):
        yield address


@contextmanager
def _process(target: Callable[..., None], *args: str) -> Generator[tuple[str, ...]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args), daemon=False)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection, folder: str) -> None:
    from gradwire_serving import EmbeddedServer, ServerOptions

    _export(folder)
    path = Path(folder) / "socket"
    server = EmbeddedServer(ServerOptions(directory=Path(folder), port=0, grpc_socket_path=str(path)))
    server.start()
    echo = _start_echo()
    pipe.send((f"127.0.0.1:{server.port}", f"unix://{path}", echo))
    threading.Event().wait()  # until it is killed


def _serve_both(pipe: Connection, folder: str) -> None:
    import tensorflow as tf

    from gradwire_export import export
    from gradwire_serving import EmbeddedServer, ServerOptions

    _export(folder)
    export(_integrate, to=Path(folder) / ODE, inputs={"x": tf.TensorSpec((None, 1), tf.float32)}, domain=DOMAIN)
    parameters = Path(folder) / "batching.config"
    parameters.write_text(BATCHING)
    batching = {"enable_batching": True, "batching_parameters_file": str(parameters)}
    running = [EmbeddedServer(ServerOptions(directory=Path(folder), port=0, **flags)) for flags in ({}, batching)]
    for server in running:
        server.start()
    pipe.send(tuple(server.address for server in running))
    threading.Event().wait()  # until it is killed


def _integrate(x: Any) -> Any:
    """Euler's method: a computation that takes milliseconds, whether for one row or for hundreds."""
    import tensorflow as tf

    def step(number: Any, y: Any) -> tuple[Any, Any]:
        time = tf.cast(number, y.dtype) / STEPS
        return number + 1, y + (tf.sin(5 * time) - y**3) / STEPS

    return tf.while_loop(lambda number, _: number < STEPS, step, (0, x), maximum_iterations=STEPS)[1]


def _export(folder: str) -> None:
    import tensorflow as tf

    from gradwire_export import export
    from gradwire_training import problems

    spec = {"x": tf.TensorSpec((None, 1), tf.float64)}
    export(tf.math.log, to=Path(folder) / LOG, inputs=spec, domain=DOMAIN)
    # What it costs to run does not depend on what the network has learnt.
    export(problems.get("log").network(seed=0), to=Path(folder) / NETWORK, domain=DOMAIN)


def _serve_echo(pipe: Connection) -> None:
    pipe.send((_start_echo(),))
    threading.Event().wait()  # until it is killed


def _start_echo() -> str:
    server = grpc.server(futures.ThreadPoolExecutor(4), options=UNLIMITED)
    service, method = ECHO[1:].split("/")
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(lambda data, _: data + data),
        SIZED.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(lambda data, _: _zeros(data[:SIZE_BYTES])),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _SERVERS.append(server)
    return f"127.0.0.1:{port}"


_SERVERS: list[grpc.Server] = []  # one that is collected stops


@cache
def _zeros(size: bytes) -> bytes:
    return bytes(int.from_bytes(size, "little"))


def sized(request: bytes, response: bytes) -> bytes:
    """A request to the echo of the size of one, whose response has the size of another."""
    return len(response).to_bytes(SIZE_BYTES, "little") + bytes(max(0, len(request) - SIZE_BYTES))


def interleaved(calls: Sequence[Callable[[], object]], runs: int) -> list[Measured]:
    """Time the calls in turn, in ms; from run to run the order is rotated, and the first tenth warms up."""
    times: list[list[float]] = [[] for _ in calls]
    warm_up = max(3, runs // 10)
    for run in range(runs + warm_up):
        for index in range(len(calls)):
            turn = (run + index) % len(calls)
            began = time.perf_counter()
            calls[turn]()
            if run >= warm_up:
                times[turn].append(1e3 * (time.perf_counter() - began))
    return [Measured(tuple(column), "ms") for column in times]
