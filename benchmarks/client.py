"""The client over the wire: value and derivative of log x beside a bare gRPC echo, the network, and its parts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np

import gradwire
from benchmarks import _wire
from benchmarks._report import Measured, Report
from benchmarks._wire import ROWS, Servers, interleaved
from gradwire import Address
from gradwire._wire import PredictCodec

RUNS = {1: 400, 64: 400, 4_096: 200, 262_144: 15}
IMPORTS = 7
COUNTED_ROWS, COUNTED_CALLS = 4_096, 50
RAW = 8 + 16  # bytes a row: x there, f and df/dx back
BLOCK = 1 << 16
METHOD = (
    "ms, median (range) of interleaved calls, the order rotated. Echo: a bare gRPC stub and a bare server in Python, as "
    "many bytes each way. Stub: the same request, ready-made, through a bare stub to the same server. Gradwire: "
    "value_and_grad, also with out=."
)
COLUMNS = [
    "rows",
    "bare echo",
    "bare stub",
    "gradwire",
    "gradwire / echo",
    "gradwire / stub",
    "with out= / stub",
    "unix socket / TCP",
]

Call = Callable[[bytes], bytes]


def main(*, write: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, _wire.servers(folder) as servers:
        calls = _calls(servers.embedded, _wire.LOG, servers.echo, servers.unix)
        networks = _network(servers, folder)
        wire = [
            [
                f"bytes on the wire / bytes of the arrays, {COUNTED_ROWS:,} rows",
                f"{_bytes_ratio(servers):.4f}",
            ]
        ]
    Report(
        name="client",
        title="value_and_grad of log x over gRPC, float64",
        method=f"{METHOD} The server is the embedded one, on a port and on a unix socket.",
        columns=COLUMNS,
        rows=calls,
    ).show(write=write)
    Report(
        name="client_network",
        title="value_and_grad of the network 1-20-20-1, float32",
        method="ms, median (range) of interleaved calls: gradwire.load in process, gradwire.connect to the embedded server.",
        columns=[
            "rows",
            "in process",
            "over gRPC",
            "over gRPC / in process",
            "rows a second in process",
            "over gRPC",
        ],
        rows=networks,
    ).show(write=write)
    Report(
        name="client_parts",
        title="The client by itself",
        method=(
            "Median (range). Bytes are those that pass a socket both ways, HTTP/2 and all, mean of "
            f"{COUNTED_CALLS} calls."
        ),
        columns=["what", "measured"],
        rows=[
            *_decoding(),
            ["import grpc, numpy", _import("import grpc, numpy")],
            ["import grpc, numpy, gradwire", _import("import grpc, numpy, gradwire")],
            *wire,
        ],
    ).show(write=write)


def against(target: str, model: str, *, write: bool) -> None:
    """Measure calls of a model on any server, beside an echo on this machine."""
    with _wire.echo_server() as echo:
        rows = _calls(target, model, echo)
    Report(
        name="client_target",
        title=f"value_and_grad of {model} at {target}",
        method=f"{METHOD} Points are drawn from the domain on the card.",
        columns=COLUMNS,
        rows=rows,
    ).show(write=write)


def _calls(target: str, model: str, echo: str, unix: str | None = None) -> list[list[str | Measured]]:
    with (
        gradwire.connect(target, model) as ours,
        gradwire.connect(unix or target, model) as beside,
        grpc.insecure_channel(target, _wire.UNLIMITED) as bare,
        grpc.insecure_channel(echo, _wire.UNLIMITED) as channel,
    ):
        stub, echoed = bare.unary_unary(_wire.PREDICT), channel.unary_unary(_wire.SIZED)
        return [_row(ours, beside if unix else None, stub, echoed, rows) for rows in ROWS]


def _row(
    model: gradwire.Model, beside: gradwire.Model | None, stub: Call, echo: Call, rows: int
) -> list[str | Measured]:
    inputs = points_of(model, rows)
    request = PredictCodec(Address("any:1", model.card.name)).request(
        model._requests.build("value_and_grad", (), inputs).call
    )
    response = stub(request)
    echoed = _wire.sized(request, response)
    out = model.value_and_grad(**inputs)
    calls: list[Callable[[], object]] = [
        lambda: echo(echoed),
        lambda: stub(request),
        lambda: model.value_and_grad(**inputs),
        lambda: model.value_and_grad(**inputs, out=out),
    ]
    if beside is not None:
        calls.append(lambda: beside.value_and_grad(**inputs))
    timed = interleaved(calls, RUNS[rows])
    floor, plain, ours, written = timed[:4]
    ratios = [f"{ours.median / floor.median:.2f}", f"{ours.median / plain.median:.2f}"]
    ratios += [f"{written.median / plain.median:.2f}"]
    ratios += [f"{timed[4].median / ours.median:.2f}"] if beside is not None else [""]
    return [f"{rows:,}", floor, plain, ours, *ratios]


def points_of(model: gradwire.Model, rows: int) -> dict[str, np.ndarray]:
    """Points of a package's domain; between 0 and 1 where the card does not have it."""
    rng = np.random.default_rng(0)
    points = {}
    for tensor in model.card.inputs:
        shape = (rows, *tensor.shape) if tensor.shape not in ((), (1,)) else (rows,)
        domain = tensor.domain or gradwire.Domain(np.zeros(tensor.shape), np.ones(tensor.shape))
        box = [np.reshape(bound, shape[1:]) for bound in (domain.lower, domain.upper)]
        points[tensor.name] = rng.uniform(*box, shape).astype(tensor.dtype)
    return points


def _network(servers: Servers, folder: str) -> list[list[str | Measured]]:
    rows: list[list[str | Measured]] = []
    with (
        gradwire.connect(servers.embedded, _wire.NETWORK) as remote,
        gradwire.load(Path(folder) / _wire.NETWORK) as local,
    ):
        for count in ROWS:
            x = np.linspace(0.1, 1.9, count, dtype=np.float32)
            here, there = interleaved(
                [lambda x=x: local.value_and_grad(x), lambda x=x: remote.value_and_grad(x)], RUNS[count]
            )
            rates = [f"{1e3 * count / timed.median:,.0f}" for timed in (here, there)]
            rows.append([f"{count:,}", here, there, f"{there.median / here.median:.2f}", *rates])
    return rows


def _bytes_ratio(servers: Servers) -> float:
    x = np.linspace(0.1, 1.9, COUNTED_ROWS)
    with _counted(servers.embedded) as (target, passed), gradwire.connect(target, _wire.LOG) as log:
        log.value_and_grad(x)
        before = sum(passed)
        for _ in range(COUNTED_CALLS):
            log.value_and_grad(x)
        return (sum(passed) - before) / (COUNTED_CALLS * COUNTED_ROWS * RAW)


@contextmanager
def _counted(target: str) -> Generator[tuple[str, list[int]]]:
    """A relay of one connection; yields where it listens, and the sizes of everything that has passed, both ways."""
    passed: list[int] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(BLOCK):
                passed.append(len(data))
                sink.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                near = listening.accept()[0]
                host, port = target.split(":")
                far = socket.create_connection((host, int(port)))
                threading.Thread(target=pump, args=(near, far), daemon=True).start()
                pump(far, near)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", passed


def _decoding() -> list[list[str | Measured]]:
    """A reply of 262,144 floats in float_val, as stock Serving answers."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    from gradwire._wire import proto
    from gradwire._wire.tensor import decode

    values = np.random.default_rng(0).normal(size=262_144).astype(np.float32)
    reply = tensor_pb2.TensorProto(dtype=1, float_val=values.tolist())
    reply.tensor_shape.dim.add(size=len(values))
    data = reply.SerializeToString()
    theirs, ours = interleaved(
        [
            lambda: tf.make_ndarray(tensor_pb2.TensorProto.FromString(data)),
            lambda: decode(proto.Tensor.FromString(data), "f"),
        ],
        20,
    )
    return [["262,144 floats in float_val: tf.make_ndarray", theirs], ["the same: gradwire", ours]]


def _import(code: str) -> Measured:
    """Time an import in fresh processes, with bytecode cached, as an installed package has it."""
    timed = f"import time; began = time.perf_counter(); {code}; print(1e3 * (time.perf_counter() - began))"
    run = [sys.executable, "-c", timed]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def once() -> float:
        return float(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout)

    once()  # writes the bytecode
    return Measured(tuple(once() for _ in range(IMPORTS)), "ms")
