"""A plain TensorFlow function as a package: f and df/dx of log x in float64, over gRPC.

python examples/plain_function.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

import gradwire
from gradwire_export import export
from gradwire_serving import EmbeddedServer, ServerOptions


def main() -> None:
    """Export tf.math.log, serve it, and query it."""
    models = Path(tempfile.mkdtemp())
    spec = tf.TensorSpec((None, 1), tf.float64)
    package = export(tf.math.log, to=models / "log", inputs={"x": spec}, domain={"x": (0.1, 1.9)})
    print("wrote", package.path.relative_to(models), "with", ", ".join(package.card.signatures))

    server = EmbeddedServer(ServerOptions(directory=models, port=0))
    server.start()
    with gradwire.connect(server.address, "log") as log:
        x = np.linspace(0.1, 1.9, 1000)
        f, df_dx = log.value_and_grad(x)
    server.stop()
    print("units in the last place:", _ulps(f, np.log(x)), "of f,", _ulps(df_dx, 1 / x), "of df_dx")


def _ulps(actual: np.ndarray, expected: np.ndarray) -> int:
    return int(np.max(np.abs(actual - expected) / np.spacing(np.abs(expected))))


if __name__ == "__main__":
    main()
