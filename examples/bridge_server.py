"""Serves the functions that the bridge examples call, in closed form and in float64, on port 8500.

python examples/bridge_server.py            # in one terminal
python examples/bridge_jax.py               # in another, like every examples/bridge_*.py
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import tensorflow as tf

from gradwire_export import export
from gradwire_serving import EmbeddedServer, ServerOptions


def log(x: tf.Tensor) -> tf.Tensor:
    """The logarithm."""
    return tf.math.log(x)


def rosenbrock(x: tf.Tensor) -> tf.Tensor:
    """Rosenbrock's function: a curved valley with its minimum at (1, 1)."""
    return ((1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2)[:, None]


def curved(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """A force that depends on position and time, with cross terms."""
    a, b, c, t = x[:, 0], x[:, 1], x[:, 2], t[:, 0]
    return (t * t * (a * a * b + tf.sin(c)) + t * b * c)[:, None]


def density(x: tf.Tensor) -> tf.Tensor:
    """The log density of two normal variables with a correlation of 0.8."""
    a, b = x[:, 0], x[:, 1]
    return (-(a * a - 1.6 * a * b + b * b) / (2 * (1 - 0.8**2)))[:, None]


def argon(positions: tf.Tensor) -> tf.Tensor:
    """The energy in eV of three argon atoms, positions in angstrom, after Lennard-Jones."""
    moves = tf.gather(positions, [0, 0, 1], axis=1) - tf.gather(positions, [1, 2, 2], axis=1)
    inverse = 3.4**2 / tf.reduce_sum(moves * moves, -1)
    return 4 * 0.0104 * tf.reduce_sum(inverse**6 - inverse**3, -1, keepdims=True)


def vector(size: int) -> tf.TensorSpec:
    """An input of this size."""
    return tf.TensorSpec((None, size), tf.float64)


def export_all(root: Path) -> None:
    """Export the packages, with no more signatures than the bridges need."""
    second_order = ["hvp", "hessian"]
    export(log, to=root / "log", inputs={"x": vector(1)}, domain={"x": (0.1, 9.0)}, signatures=second_order)
    export(
        rosenbrock,
        to=root / "rosenbrock",
        inputs={"x": vector(2)},
        domain={"x": (-2.0, 2.0)},
        signatures=second_order,
    )
    export(
        argon,
        to=root / "argon",
        inputs={"positions": tf.TensorSpec((None, 3, 3), tf.float64)},
        outputs=["energy"],
        domain={
            "positions": ([[-0.2] * 3, [3.5, -0.2, -0.2], [-0.2, 3.5, -0.2]], [[0.2] * 3, [4, 0.2, 0.2], [0.2, 4, 0.2]])
        },
        units={"positions": "Å", "energy": "eV"},
        signatures=second_order,
    )
    export(density, to=root / "density", inputs={"x": vector(2)}, domain={"x": (-4.0, 4.0)}, signatures=[])
    export(
        curved,
        to=root / "curved",
        inputs={"x": vector(3), "t": vector(1)},
        domain={"x": (-1.0, 1.0), "t": (0.5, 2.0)},
        units={"x": "m", "t": "s", "f": "N"},
        signatures=second_order,
    )


def main() -> None:
    """Export, serve, and wait for Ctrl-C."""
    root = Path(tempfile.mkdtemp())
    export_all(root)
    server = EmbeddedServer(ServerOptions(directory=root, port=8500))
    server.start()
    print("serving on", server.address, "- stop with Ctrl-C")
    threading.Event().wait()


if __name__ == "__main__":
    main()
