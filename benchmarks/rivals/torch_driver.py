"""PyTorch's L-BFGS with the strong Wolfe line search, float64, eager, derivative by ``autograd.grad``.

Settings: 100 pairs kept, started afresh where the line search is stuck; one thread, at 19 rows faster than two.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from _driver import WIDTHS, Task, Track, serve

ENDLESS = 10**9
HISTORY = 100
SCALE = 1e8  # of the loss: torch's L-BFGS learns nothing from a step whose y*s is below 1e-10, and stays where it is
SMALLEST_STEP = 1e-13  # of weights and of the loss: there the line search is stuck, and a fresh history goes on


def network() -> torch.nn.Sequential:
    """The network, freshly drawn: torch's own start of weights."""
    layers: list[torch.nn.Module] = []
    sizes = (1, *WIDTHS)
    for fan_in, fan_out in pairwise(sizes):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 1))


def value_and_slope(net: torch.nn.Module, x: torch.Tensor, *, train: bool) -> tuple[Any, Any]:
    value = net(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=train)
    return value, slope


class Torch:
    packages = ("torch", "numpy")

    def fit(self, task: Task, track: Track) -> None:
        torch.manual_seed(task.seed)
        self.net = net = network()
        x = torch.tensor(task.x, requires_grad=task.dydx is not None)
        y, dydx = torch.tensor(task.y), None if task.dydx is None else torch.tensor(task.dydx)

        def closure() -> torch.Tensor:
            net.zero_grad()
            if dydx is None:
                loss = torch.mean((net(x) - y) ** 2)
            else:
                value, slope = value_and_slope(net, x, train=True)
                loss = torch.mean((value - y) ** 2) + torch.mean((slope - dydx) ** 2)
            loss = SCALE * loss
            loss.backward()
            track.offer(loss.item(), lambda: {k: v.clone() for k, v in net.state_dict().items()})
            return loss

        track.start()
        while True:
            torch.optim.LBFGS(
                net.parameters(),
                max_iter=ENDLESS,
                max_eval=ENDLESS,
                history_size=HISTORY,
                tolerance_grad=0.0,
                tolerance_change=SMALLEST_STEP,
                line_search_fn="strong_wolfe",
            ).step(closure)

    def predict(self, weights: dict[str, torch.Tensor], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.net.load_state_dict(weights)
        value, slope = value_and_slope(self.net, torch.tensor(x, requires_grad=True), train=False)
        return value.detach().numpy(), slope.numpy()


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    serve(Torch())
