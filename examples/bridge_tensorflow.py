"""A served function inside a tf.function, under nested gradient tapes.

python examples/bridge_tensorflow.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

import gradwire
import gradwire.tensorflow


def main(address: str = "localhost:8500") -> None:
    """Compute first and second derivatives of a served logarithm."""
    with gradwire.connect(address, "log") as model:
        log = gradwire.tensorflow.wrap(model)

        @tf.function
        def derivatives(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    f = log(x)
                first = inner.gradient(f, x)
            return first, outer.gradient(first, x)

        x = tf.linspace(tf.constant(0.2, tf.float64), 1.8, 5)
        first, second = derivatives(x)
        print("1/x:", first.numpy())
        print("-1/x²:", second.numpy())
        np.testing.assert_allclose(second, -1 / x**2, rtol=1e-9)


if __name__ == "__main__":
    main(*sys.argv[1:])
