"""The reference training: ``model.fit`` with SGD at 0.1 on one batch of all rows, float32, an epoch a step.

Runs in the project's environment: it is what Gradwire started from.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _driver import WIDTHS, Task, Track, serve

RATE = 0.1
ENDLESS = 10**9


class Note(keras.callbacks.Callback):
    """Offer every epoch's loss; it is of the weights before the epoch's update."""

    def __init__(self, track: Track) -> None:
        super().__init__()
        self.track = track

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.track.offer((logs or {})["loss"], self.model.get_weights)


class Keras:
    packages = ("keras", "tensorflow", "numpy")

    def fit(self, task: Task, track: Track) -> None:
        keras.utils.set_random_seed(task.seed)
        hidden = [keras.layers.Dense(width, activation="sigmoid") for width in WIDTHS]
        self.model = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
        self.model.compile(optimizer=keras.optimizers.SGD(RATE), loss="mse", metrics=["mae"])
        x, y = task.x.astype("float32"), task.y.astype("float32")
        self.model.fit(x, y, batch_size=len(x), epochs=1, verbose=0)  # compiles
        track.start()
        self.model.fit(x, y, batch_size=len(x), epochs=ENDLESS, verbose=0, callbacks=[Note(track)])

    def predict(self, weights: list[np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.model.set_weights(weights)
        points = tf.constant(x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(points)
            value = self.model(points)
        return value.numpy(), tape.gradient(value, points).numpy()


if __name__ == "__main__":
    serve(Keras())
