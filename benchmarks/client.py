"""One call over the wire: value and derivative of log x in closed form, in float64, beside a bare gRPC echo."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent import futures
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import grpc
import numpy as np

import gradwire
from benchmarks._report import Measured, Report

ROWS = (1, 64, 4_096, 262_144)
RUNS = {1: 400, 64: 400, 4_096: 200, 262_144: 15}  # interleaved; the median is shown
ECHO = "/bench.Echo/Echo"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
IMPORTS = 7


def main(*, write: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target, process = _start(_serve, folder)
        try:
            rows = [_row(target, count) for count in ROWS]
        finally:
            process.kill()
            process.join()
    Report(
        name="client",
        title="value_and_grad of log x over gRPC, float64",
        method=(
            "ms, median (range) of interleaved calls. Echo: a bare gRPC stub and server in Python, the same bytes each way "
            "(8 bytes a row out, 16 back). Serialised: the same request, ready-made, through a bare stub to the same "
            "embedded server. Gradwire: value_and_grad against the embedded server."
        ),
        columns=["rows", "bare echo", "serialised", "gradwire", "gradwire / echo", "gradwire / serialised"],
        rows=rows,
    ).show(write=write)
    Report(
        name="client_parts",
        title="The client by itself",
        method="Median (range).",
        columns=["what", "time"],
        rows=[
            *_decoding(),
            ["import grpc, numpy", _import("import grpc, numpy")],
            ["import grpc, numpy, gradwire", _import("import grpc, numpy, gradwire")],
        ],
    ).show(write=write)


def _start(serve: Callable[[Connection, str], None], folder: str) -> tuple[str, BaseProcess]:
    """Starts the servers in a process of their own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, folder), daemon=False)
    process.start()
    return ours.recv(), process


def _serve(pipe: Connection, folder: str) -> None:
    """The embedded server with the exported logarithm, and the echo on another port."""
    import tensorflow as tf

    from gradwire_export import export
    from gradwire_serving import EmbeddedServer, ServerOptions

    spec = {"x": tf.TensorSpec((None, 1), tf.float64)}
    export(tf.math.log, to=Path(folder) / "log", inputs=spec, domain={"x": (0.1, 1.9)})
    server = EmbeddedServer(ServerOptions(directory=Path(folder), port=0))
    server.start()
    echo = grpc.server(futures.ThreadPoolExecutor(4), options=UNLIMITED)
    service, method = ECHO[1:].split("/")
    handler = grpc.unary_unary_rpc_method_handler(lambda data, _: data + data)
    echo.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = echo.add_insecure_port("127.0.0.1:0")
    echo.start()
    pipe.send(f"127.0.0.1:{server.port} 127.0.0.1:{port}")
    threading.Event().wait()  # until it is killed


def _row(targets: str, count: int) -> list[str | Measured]:
    target, echo_target = targets.split()
    x = np.linspace(0.1, 1.9, count)
    data = _request(target, x)
    with (
        gradwire.connect(target, "log") as log,
        grpc.insecure_channel(target, UNLIMITED) as bare,
        grpc.insecure_channel(echo_target, UNLIMITED) as channel,
    ):
        serving = bare.unary_unary("/tensorflow.serving.PredictionService/Predict")
        echo = channel.unary_unary(ECHO)
        echoed, plain, ours = _interleaved(
            [lambda: echo(data), lambda: serving(data), lambda: log.value_and_grad(x)], RUNS[count]
        )
    ratios = [f"{ours.median / other.median:.2f}" for other in (echoed, plain)]
    return [f"{count:,}", echoed, plain, ours, *ratios]


def _request(target: str, x: np.ndarray) -> bytes:
    """The bytes of the whole request, made with Serving's own protos."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "log", "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x[:, None]))
    return request.SerializeToString()


def _interleaved(calls: list[Callable[[], object]], runs: int) -> list[Measured]:
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + max(3, runs // 10)):
        for call, found in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            if run >= max(3, runs // 10):  # the first ones warm up
                found.append(1e3 * (time.perf_counter() - began))
    return [Measured(tuple(found), "ms") for found in times]


def _decoding() -> list[list[str | Measured]]:
    """A reply of 262,144 floats in float_val, as stock Serving answers."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    from gradwire import _proto
    from gradwire._tensor import decode

    values = np.random.default_rng(0).normal(size=262_144).astype(np.float32)
    reply = tensor_pb2.TensorProto(dtype=1, float_val=values.tolist())
    reply.tensor_shape.dim.add(size=len(values))
    data = reply.SerializeToString()
    theirs, ours = _interleaved(
        [
            lambda: tf.make_ndarray(tensor_pb2.TensorProto.FromString(data)),
            lambda: decode(_proto.Tensor.FromString(data), "f"),
        ],
        20,
    )
    return [["262,144 floats in float_val: tf.make_ndarray", theirs], ["the same: gradwire", ours]]


def _import(code: str) -> Measured:
    timed = f"import time; began = time.perf_counter(); {code}; print(1e3 * (time.perf_counter() - began))"
    run = [sys.executable, "-c", timed]
    return Measured(
        tuple(
            float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
            for _ in range(IMPORTS)
        ),
        "ms",
    )
