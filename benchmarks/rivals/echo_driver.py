"""A bare gRPC stub against a bare gRPC server: what everything else is measured by. Nothing is encoded or decoded."""

from __future__ import annotations

from functools import cache

import grpc
import numpy as np
from _wire import run

ECHO = "/bench.Echo/Echo"  # benchmarks/_wire.py serves it: it gives back what it gets, twice
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
ENVELOPE = 64  # bytes that a PredictRequest has beside its array


class Echo:
    packages = ("grpcio",)

    def serve(self, port: int) -> None:
        raise NotImplementedError("the benchmark starts the echo")

    def connect(self, target: str) -> None:
        self.call = grpc.insecure_channel(target, UNLIMITED).unary_unary(ECHO)

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.call(payload(len(x)))
        return answer(len(x), x[0], x[-1])


@cache
def payload(rows: int) -> bytes:
    return bytes(8 * rows + ENVELOPE)


@cache
def answer(rows: int, first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(first, last, rows)
    return np.log(x), 1 / x


if __name__ == "__main__":
    run(Echo(), has_server=False)
