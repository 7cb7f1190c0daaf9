"""Keras's smooth activations in NumPy, with their first and second derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, expit

Array: TypeAlias = "NDArray[np.float64]"
ActivationFunction: TypeAlias = "Callable[[Array], tuple[Array, Array, Array]]"  # z -> value, first, second derivative

# TensorFlow's gelu rounds it to float32 even in float64, and that function is what is packaged.
ROOT_HALF: Final = float(np.float32(math.sqrt(0.5)))


def find(function: Any) -> ActivationFunction | None:
    """Return a layer's activation in NumPy; None for one that is not known here, such as a custom function."""
    return next((known for name, known in KNOWN.items() if keras.activations.get(name) is function), None)


def _linear(z: Array) -> tuple[Array, Array, Array]:
    return z, np.ones_like(z), np.zeros_like(z)


def _sigmoid(z: Array) -> tuple[Array, Array, Array]:
    s = expit(z)
    d1 = s * (1 - s)
    return s, d1, d1 * (1 - 2 * s)


def _tanh(z: Array) -> tuple[Array, Array, Array]:
    t = np.tanh(z)
    d1 = 1 - t * t
    return t, d1, -2 * t * d1


def _softplus(z: Array) -> tuple[Array, Array, Array]:
    s = expit(z)
    return np.logaddexp(0.0, z), s, s * (1 - s)


def _silu(z: Array) -> tuple[Array, Array, Array]:
    s = expit(z)
    d = s * (1 - s)
    return z * s, s + z * d, d * (2 + z * (1 - 2 * s))


def _gelu(z: Array) -> tuple[Array, Array, Array]:
    below = erfc(-ROOT_HALF * z) / 2
    density = np.exp(-((ROOT_HALF * z) ** 2)) * ROOT_HALF / math.sqrt(math.pi)
    return z * below, below + z * density, 2 * density * (1 - (ROOT_HALF * z) ** 2)


def _exponential(z: Array) -> tuple[Array, Array, Array]:
    e = np.exp(z)
    return e, e, e


def _elu(z: Array) -> tuple[Array, Array, Array]:
    e = np.exp(np.minimum(z, 0.0))
    return np.where(z > 0, z, e - 1), np.where(z > 0, 1.0, e), np.where(z > 0, 0.0, e)


def _relu(z: Array) -> tuple[Array, Array, Array]:
    d1 = (z > 0).astype(np.float64)
    return z * d1, d1, np.zeros_like(z)


KNOWN: Final[dict[str, ActivationFunction]] = {
    "linear": _linear,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "softplus": _softplus,
    "silu": _silu,
    "gelu": _gelu,
    "exponential": _exponential,
    "elu": _elu,
    "relu": _relu,
}
