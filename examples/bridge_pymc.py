"""PyMC samples a served density with NUTS, which needs its gradient at every step.

python examples/bridge_pymc.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import numpy as np
import pymc

import gradwire
import gradwire.pytensor


def main(address: str = "localhost:8500") -> None:
    """Sample two correlated variables, and multiply their density by what was observed of the first one."""
    with gradwire.connect(address, "density") as model:
        density = gradwire.pytensor.wrap(model)
        with pymc.Model():
            x = pymc.Flat("x", shape=2)
            pymc.Potential("prior", density(x))
            pymc.Normal("y", x[0], 0.5, observed=1.0)
            trace = pymc.sample(
                400, tune=300, chains=1, random_seed=1, progressbar=False, compute_convergence_checks=False,
                compile_kwargs={"mode": "FAST_COMPILE"},
            )  # fmt: skip
    samples = trace.posterior["x"].values[0]
    mean = np.array([0.8, 0.64])  # of the exact posterior: both are normal
    print("posterior mean", samples.mean(0), "expected", mean)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.15)


if __name__ == "__main__":
    main(*sys.argv[1:])
