"""Gradwire's client against its embedded server, in a process of its own as the rivals are."""

from __future__ import annotations

import numpy as np
from _wire import run

import gradwire


class Ours:
    packages = ("gradwire", "grpcio")

    def serve(self, port: int) -> None:
        raise NotImplementedError("the benchmark starts the embedded server")

    def connect(self, target: str) -> None:
        self.model = gradwire.connect(target, "log")

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.model.value_and_grad(x)


if __name__ == "__main__":
    run(Ours(), has_server=False)
