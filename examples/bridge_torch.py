"""A served function as a layer of a PyTorch model.

python examples/bridge_torch.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import torch

import gradwire
import gradwire.torch


def main(address: str = "localhost:8500") -> None:
    """Fit the inputs of a served function by backpropagation through it."""
    torch.manual_seed(0)
    with gradwire.connect(address, "curved") as model:
        force = gradwire.torch.wrap(model)
        t = torch.linspace(0.5, 2.0, 32, dtype=torch.float64)
        position = torch.nn.Linear(1, 3, dtype=torch.float64)
        optimizer = torch.optim.Adam(position.parameters(), lr=0.05)
        losses: list[float] = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = (force(torch.tanh(position(t[:, None])), t) - 0.5).square().mean()  # one call
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
        print("mean square error from a force of 0.5 at all times:", losses[0], "->", losses[-1])
        assert losses[-1] < losses[0] / 10


if __name__ == "__main__":
    main(*sys.argv[1:])
