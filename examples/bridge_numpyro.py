"""NumPyro samples a served density with NUTS, which needs its gradient at every step.

python examples/bridge_numpyro.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys
import time

import jax
import numpy as np
from numpyro.infer import MCMC, NUTS

import gradwire
import gradwire.jax


def main(address: str = "localhost:8500") -> None:
    """Sample two correlated variables; print the rate of calls."""
    jax.config.update("jax_enable_x64", True)
    with gradwire.connect(address, "density") as model:
        density = gradwire.jax.wrap(model)
        kernel = NUTS(potential_fn=lambda x: -density(x))
        sampler = MCMC(kernel, num_warmup=200, num_samples=400, progress_bar=False)
        start = time.perf_counter()
        sampler.run(jax.random.PRNGKey(0), init_params=np.zeros(2), extra_fields=("num_steps",))
        samples = np.asarray(sampler.get_samples())
        seconds = time.perf_counter() - start
    steps = int(sampler.get_extra_fields()["num_steps"].sum())
    correlation = np.corrcoef(samples.T)[0, 1]
    print(f"400 samples after a warm-up of 200: correlation {correlation:.2f}, expected 0.8")
    print(
        f"{steps} gradients for the samples alone, over {steps / seconds:.0f} calls per second, including compilation"
    )
    np.testing.assert_allclose(correlation, 0.8, atol=0.15)


if __name__ == "__main__":
    main(*sys.argv[1:])
