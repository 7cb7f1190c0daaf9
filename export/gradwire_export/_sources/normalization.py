"""Where a Keras model's inputs lie, as far as its Normalization layers know: mean and variance of what they saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import keras
import numpy as np

from gradwire._package import Domain

DEVIATIONS: Final = 3.0  # of a normal distribution that leaves out one in 370


def normalized_domains(model: keras.Model, inputs: Mapping[str, Any]) -> dict[str, Domain]:
    """Return mean ± 3 deviations of every input that a Normalization layer takes, alone or in a Concatenate.

    ``inputs`` are the model's symbolic inputs by name.
    """
    names = {id(tensor): name for name, tensor in inputs.items()}
    domains: dict[str, Domain] = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization) or layer.invert or getattr(layer, "mean", None) is None:
            continue
        tensor = layer.input
        parts = [tensor] if id(tensor) in names else _concatenated(tensor)
        shape = tuple(tensor.shape[1:])
        mean, variance = (
            np.broadcast_to(np.asarray(part, np.float64), (1, *shape))[0] for part in (layer.mean, layer.variance)
        )
        lower, upper = (mean + sign * DEVIATIONS * np.sqrt(variance) for sign in (-1.0, 1.0))
        ends = np.cumsum([part.shape[-1] for part in parts])
        for part, end in zip(parts, ends, strict=True):
            if id(part) in names:
                mine = np.s_[..., int(end) - part.shape[-1] : int(end)]
                domains[names[id(part)]] = Domain(lower[mine].tolist(), upper[mine].tolist())
    return domains


def _concatenated(tensor: Any) -> list[Any]:
    """Return what a Concatenate along the last axis joined into a tensor; nothing where something else made it."""
    made_by = tensor._keras_history.operation  # noqa: SLF001 - Keras's record of the graph, which it saves by
    rank = len(tensor.shape)
    if not isinstance(made_by, keras.layers.Concatenate) or made_by.axis not in (-1, rank - 1):
        return []
    return list(made_by.input)
