"""Tesseract's own server and its HTTP client: f and 1/x as two outputs of one ``apply``, the cheapest that it has.

A user who asks for ``apply`` and then ``jacobian`` pays twice.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from _wire import HOST, run


class Tesseract:
    packages = ("tesseract-core",)

    def serve(self, port: int) -> None:
        os.environ["TESSERACT_API_PATH"] = str(Path(__file__).with_name("_tesseract_api.py"))
        command = Path(sys.executable).with_name("tesseract-runtime")
        os.execv(command, [str(command), "serve", "--host", HOST, "--port", str(port)])

    def connect(self, target: str) -> None:
        from tesseract_core import Tesseract as Client

        self.client = Client.from_url(f"http://{target}")
        self.client.health()

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        response = self.client.apply({"x": x})
        return response["f"], response["df_dx"]


if __name__ == "__main__":
    run(Tesseract())
