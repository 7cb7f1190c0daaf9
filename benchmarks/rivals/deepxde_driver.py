"""DeepXDE on PyTorch, float64: Adam, then L-BFGS, as its manual has it.

Settings: 200 steps of Adam at 1e-2 (more, or smaller ones, only cost time), then L-BFGS without tolerance; one thread.
The derivative is ``dde.grad.jacobian``; values and derivatives are two losses of the same points.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["DDE_BACKEND"] = "pytorch"

import deepxde as dde
import numpy as np
import torch
from _driver import WIDTHS, Task, Track, serve

ENDLESS = 10**9
ADAM_STEPS = 200
ADAM_RATE = 1e-2
SCALE = 1e8  # of the losses: as in torch_driver


class Points(dde.data.data.Data):
    """Values, and where there are some derivatives, at the same points."""

    def __init__(self, task: Task, track: Track) -> None:
        self.task, self.track = task, track
        self.net: torch.nn.Module
        self.slopes = None if task.dydx is None else torch.tensor(task.dydx)

    def losses(self, targets: Any, outputs: Any, loss_fn: Any, inputs: Any, model: Any, aux: Any = None) -> list[Any]:
        losses = [loss_fn(targets, outputs)]
        if self.slopes is not None:
            losses.append(loss_fn(self.slopes, dde.grad.jacobian(outputs, inputs)))
        total = sum(loss.item() for loss in losses)
        self.track.offer(total, lambda: {k: v.clone() for k, v in self.net.state_dict().items()})
        return losses

    def losses_test(self, targets: Any, outputs: Any, loss_fn: Any, inputs: Any, model: Any, aux: Any = None) -> Any:
        return [outputs.sum() * 0] * (1 if self.slopes is None else 2)  # nobody asks: no time for it

    def train_next_batch(self, batch_size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.task.x, self.task.y

    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.task.x, self.task.y


class Deepxde:
    packages = ("deepxde", "torch", "numpy")

    def fit(self, task: Task, track: Track) -> None:
        dde.config.set_random_seed(task.seed)
        data = Points(task, track)
        weights = [SCALE] * (1 if task.dydx is None else 2)
        data.net = dde.nn.FNN([1, *WIDTHS, 1], "sigmoid", "Glorot uniform")
        self.model = dde.Model(data, data.net)
        self.model.compile("adam", lr=ADAM_RATE, loss_weights=weights, verbose=0)
        track.start()
        self.model.train(iterations=ADAM_STEPS, display_every=ENDLESS, verbose=0)
        dde.optimizers.set_LBFGS_options(ftol=0, gtol=0, maxiter=ENDLESS)
        self.model.compile("L-BFGS", loss_weights=weights, verbose=0)
        self.model.train(display_every=ENDLESS, verbose=0)

    def predict(self, weights: dict[str, torch.Tensor], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.model.net.load_state_dict(weights)
        slope = self.model.predict(x, operator=lambda taken, given: dde.grad.jacobian(given, taken))
        return self.model.predict(x), slope


if __name__ == "__main__":
    dde.config.set_default_float("float64")
    torch.set_num_threads(1)
    serve(Deepxde())
