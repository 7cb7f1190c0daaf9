"""UM-Bridge's Python server and HTTP client: f and 1/x as two outputs of one Evaluate, the cheapest that it has.

A user who asks for Evaluate and then Gradient pays twice. The server's checks of the answer are off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import umbridge
from _wire import run


class Log(umbridge.Model):
    def __init__(self) -> None:
        super().__init__("log")

    def get_input_sizes(self, config: dict[str, Any]) -> list[int]:
        return [config["rows"]]

    def get_output_sizes(self, config: dict[str, Any]) -> list[int]:
        return [config["rows"], config["rows"]]

    def __call__(self, parameters: list[list[float]], config: dict[str, Any]) -> list[list[float]]:
        x = np.array(parameters[0])
        return [np.log(x).tolist(), (1 / x).tolist()]

    def supports_evaluate(self) -> bool:
        return True


class UmBridge:
    packages = ("umbridge",)

    def serve(self, port: int) -> None:
        umbridge.serve_models([Log()], port, error_checks=False)

    def connect(self, target: str) -> None:
        self.model = umbridge.HTTPModel(f"http://{target}", "log")

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, df_dx = self.model([x.tolist()], {"rows": len(x)})
        return np.array(f), np.array(df_dx)


if __name__ == "__main__":
    run(UmBridge())
