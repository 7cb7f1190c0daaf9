"""A dense network and its derivatives in numba, rows in the lanes of the vector unit, beside the native engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES = 16
numba: Any = importlib.import_module("numba")  # which nothing but this row needs, and few have

jit = numba.njit(fastmath={"contract", "nsz", "arcp"}, error_model="numpy", boundscheck=False, inline="always")


@jit
def _tanh(x: Any) -> Any:
    """By exp, reduced after Cody and Waite, for LLVM makes no vectors of the C library's."""
    y = np.float32(min(max(x, np.float32(-9.1)), np.float32(9.1)) * np.float32(2))
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + np.float32(c)
    e = (p * r * r + r + np.float32(1)) * np.float32(2) ** n
    return (e - np.float32(1)) / (e + np.float32(1))


@numba.njit(fastmath={"contract", "nsz", "arcp"}, error_model="numpy", nogil=True)
def _two_layers(  # noqa: C901, PLR0912 - one kernel, which numba compiles as a whole
    x: Any, w: Any, b: Any, v: Any, c: Any, u: Any, d: Any, f: Any, g: Any
) -> None:
    """Compute f and df/dx of one output by a sweep forward and one back, ``LANES`` rows at a time."""
    n, first, second = x.shape[1], w.shape[1], v.shape[1]
    a, h = np.empty((first, LANES), np.float32), np.empty((second, LANES), np.float32)
    back = np.empty((first, LANES), np.float32)
    total = np.empty(LANES, np.float32)
    for start in range(0, len(x), LANES):
        lanes = min(LANES, len(x) - start)
        for j in range(first):
            total[:] = b[j]
            for i in range(n):
                for k in range(lanes):
                    total[k] += x[start + k, i] * w[i, j]
            for k in range(LANES):
                a[j, k] = _tanh(total[k])
        back[:] = 0
        out = np.zeros(LANES, np.float32)
        for j in range(second):
            total[:] = c[j]
            for i in range(first):
                for k in range(LANES):
                    total[k] += a[i, k] * v[i, j]
            for k in range(LANES):
                h[j, k] = _tanh(total[k])
                out[k] += h[j, k] * u[j, 0]
                total[k] = u[j, 0] * (np.float32(1) - h[j, k] * h[j, k])
            for i in range(first):
                for k in range(LANES):
                    back[i, k] += total[k] * v[i, j]
        for k in range(lanes):
            f[start + k, 0] = out[k] + d[0]
        for i in range(n):
            total[:] = 0
            for j in range(first):
                for k in range(LANES):
                    total[k] += back[j, k] * (np.float32(1) - a[j, k] * a[j, k]) * w[i, j]
            for k in range(lanes):
                g[start + k, i] = total[k]


def compiled(weights: list[NDArray[np.float32]]) -> Callable[[Any], Any]:
    """Return value and derivatives of a network with two hidden layers and one output, on one thread."""

    def run(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        f, g = np.empty((len(x), 1), np.float32), np.empty(x.shape, np.float32)
        _two_layers(x, *weights, f, g)
        return f, g

    return run
