"""Your own model and your own data: two inputs, values and slopes, one of them missing here and there.

python examples/own_model.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import gradwire
from gradwire_export import export
from gradwire_training import Samples, Sobolev, fit, mlp


def main() -> None:
    """Learns price = spot * exp(-rate) with both slopes, exports, and asks the package in process."""
    generator = np.random.default_rng(0)
    spot, rate = generator.uniform(0.5, 1.5, (200, 1)), generator.uniform(0.0, 0.5, (200, 1))
    price = spot * np.exp(-rate)
    by_spot, by_rate = np.exp(-rate), -price
    by_rate[::4] = np.nan  # a label that nobody measured: left out, not guessed

    samples = Samples({"spot": spot, "rate": rate}, {"price": price}, {"price": {"spot": by_spot, "rate": by_rate}})
    model = mlp(inputs={"spot": 1, "rate": 1}, outputs={"price": 1}, widths=(16, 16), activation="tanh", seed=0)
    result = fit(model, samples, loss=Sobolev(), steps=1500)
    print(result.message)

    work = Path(tempfile.mkdtemp())
    package = export(result.save(work / "price"), to=work / "models" / "price", units={"spot": "USD", "price": "USD"})
    with gradwire.load(package.path) as served:
        values, grads = served.value_and_grad(spot=1.2, rate=[0.0, 0.1, 0.2])
    truth = 1.2 * np.exp([0.0, -0.1, -0.2])
    print("price error", float(np.abs(values["price"] - truth).max()))
    print("delta error", float(np.abs(grads["price"]["spot"] - truth / 1.2).max()))


if __name__ == "__main__":
    main()
