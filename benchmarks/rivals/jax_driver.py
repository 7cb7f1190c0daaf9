"""JAX with optax.lbfgs and its zoom line search, float64, everything compiled, many steps a call.

Settings: 50 pairs kept; derivative by ``jax.jvp``.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _driver import WIDTHS, Task, Track, serve

CHUNK = 50  # steps a call: some 10 ms
MEMORY = 50


def start(seed: int) -> list[tuple[Any, Any]]:
    """Glorot's uniform weights, biases at zero."""
    sizes = (1, *WIDTHS, 1)
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    glorot = jax.nn.initializers.glorot_uniform()
    return [
        (glorot(key, (fan_in, fan_out), jnp.float64), jnp.zeros(fan_out))
        for key, (fan_in, fan_out) in zip(keys, pairwise(sizes), strict=True)
    ]


def network(params: list[tuple[Any, Any]], x: Any) -> Any:
    for kernel, bias in params[:-1]:
        x = jax.nn.sigmoid(x @ kernel + bias)
    kernel, bias = params[-1]
    return x @ kernel + bias


def value_and_slope(params: Any, x: Any) -> tuple[Any, Any]:
    return jax.jvp(functools.partial(network, params), (x,), (jnp.ones_like(x),))


def loss_of(params: Any, x: Any, y: Any, dydx: Any) -> Any:
    if dydx is None:
        return jnp.mean((network(params, x) - y) ** 2)
    value, slope = value_and_slope(params, x)
    return jnp.mean((value - y) ** 2) + jnp.mean((slope - dydx) ** 2)


OPTIMIZER = optax.lbfgs(memory_size=MEMORY)


@jax.jit
def steps(params: Any, state: Any, x: Any, y: Any, dydx: Any) -> tuple[Any, Any, Any]:
    """Take a chunk of steps; gives the weights, the optimiser's state, and the loss of these weights."""
    objective = functools.partial(loss_of, x=x, y=y, dydx=dydx)
    both = optax.value_and_grad_from_state(objective)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        value, grad = both(params, state=state)
        updates, state = OPTIMIZER.update(grad, state, params, value=value, grad=grad, value_fn=objective)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, state), length=CHUNK)
    return params, state, optax.tree.get(state, "value")


class Jax:
    packages = ("jax", "jaxlib", "optax", "numpy")

    def fit(self, task: Task, track: Track) -> None:
        params = start(task.seed)
        state = OPTIMIZER.init(params)
        data = (task.x, task.y, task.dydx)
        jax.block_until_ready(steps(params, state, *data))  # compiles, the first time
        track.start()
        while True:
            params, state, loss = steps(params, state, *data)
            track.offer(float(loss), lambda snapshot=params: snapshot, steps=CHUNK)

    def predict(self, weights: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = value_and_slope(weights, jnp.asarray(x))
        return np.asarray(value), np.asarray(slope)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    serve(Jax())
