"""The servers that the client's benchmarks call: the embedded one with log x in closed form, and a bare gRPC echo."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import numpy as np

from benchmarks._report import Measured

ROWS = (1, 64, 4_096, 262_144)
ECHO = "/bench.Echo/Echo"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
LOG = "log"
NETWORK = "network"


@dataclass(frozen=True)
class Servers:
    """Where they listen; the embedded one serves ``LOG`` and ``NETWORK``."""

    embedded: str
    echo: str


@contextmanager
def servers(folder: str) -> Generator[Servers]:
    """Start both in a process of their own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, folder), daemon=False)
    process.start()
    try:
        yield Servers(*ours.recv())
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection, folder: str) -> None:
    import tensorflow as tf

    from gradwire_export import export
    from gradwire_serving import EmbeddedServer, ServerOptions
    from gradwire_training import problems

    domain = {"x": (0.1, 1.9)}
    spec = {"x": tf.TensorSpec((None, 1), tf.float64)}
    export(tf.math.log, to=Path(folder) / LOG, inputs=spec, domain=domain)
    # What it costs to run does not depend on what the network has learnt.
    export(problems.get("log").network(seed=0), to=Path(folder) / NETWORK, domain=domain)
    server = EmbeddedServer(ServerOptions(directory=Path(folder), port=0))
    server.start()
    echo = grpc.server(futures.ThreadPoolExecutor(4), options=UNLIMITED)
    service, method = ECHO[1:].split("/")
    handler = grpc.unary_unary_rpc_method_handler(lambda data, _: data + data)
    echo.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = echo.add_insecure_port("127.0.0.1:0")
    echo.start()
    pipe.send((f"127.0.0.1:{server.port}", f"127.0.0.1:{port}"))
    threading.Event().wait()  # until it is killed


def request(x: np.ndarray) -> bytes:
    """The bytes of the whole request, made with Serving's own protos; x is (rows,), float64."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = LOG, "serving_default"
    message.inputs["x"].CopyFrom(tf.make_tensor_proto(x[:, None]))
    return message.SerializeToString()


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
