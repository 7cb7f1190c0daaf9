"""A served function in JAX: jit, vmap, grad and hessian.

python examples/bridge_jax.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import jax
import numpy as np
from jax import numpy as jnp

import gradwire
import gradwire.jax


def main(address: str = "localhost:8500") -> None:
    """Differentiate a function of a served function over a batch, in one call."""
    jax.config.update("jax_enable_x64", True)
    with gradwire.connect(address, "curved") as model:
        force = gradwire.jax.wrap(model)

        def energy(x: jax.Array, t: jax.Array) -> jax.Array:
            return jnp.square(force(x, t)) / 2

        x, t = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (100, 3))), jnp.linspace(0.5, 2.0, 100)
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(energy)))(x, t)
        print("100 energies and gradients in one call:", value.shape, gradient.shape)
        matrices = jax.vmap(jax.hessian(energy))(x, t)
        print("100 Hessians in one call, symmetric to", float(jnp.abs(matrices - matrices.mT).max()))


if __name__ == "__main__":
    main(*sys.argv[1:])
