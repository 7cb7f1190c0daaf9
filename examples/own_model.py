"""Your own model and your own data: two inputs, values and derivatives, some of the labels missing.

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
    """Fit price = spot * exp(-rate) and both derivatives, export, and query the package in process."""
    generator = np.random.default_rng(0)
    spot, rate = generator.uniform(0.5, 1.5, (200, 1)), generator.uniform(0.0, 0.5, (200, 1))
    price = spot * np.exp(-rate)
    wrt_spot, wrt_rate = np.exp(-rate), -price
    wrt_rate[::4] = np.nan  # missing labels are left out

    samples = Samples({"spot": spot, "rate": rate}, {"price": price}, {"price": {"spot": wrt_spot, "rate": wrt_rate}})
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
