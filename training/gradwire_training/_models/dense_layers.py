"""What the networks share: initial weights by a seed, and checks of sizes and activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import keras
import numpy as np

from gradwire._errors import UsageError


def initializers(seed: int) -> Iterator[Any]:
    """Yield the initializer of each layer in turn, after Glorot and Bengio."""
    for layer in count():  # seeds of a sequence: neighbouring seeds would share weights between layers
        yield keras.initializers.GlorotUniform(seed=int(np.random.SeedSequence((seed, layer)).generate_state(1)[0]))


def check_activation(name: str) -> str:
    """Return the name of an activation, if Keras knows it."""
    try:
        keras.activations.get(name)
    except ValueError as error:
        raise UsageError(f"activation {name!r} is unknown to Keras: use 'sigmoid', 'tanh', 'softplus', ...") from error
    return name


def size_of(label: str, size: int) -> int:
    """Return a size, if it is positive; the label is for the message."""
    if size < 1:
        raise UsageError(f"{label}: size {size}, expected 1 or more")
    return int(size)


def through(layers: Sequence[keras.Layer], tensor: Any) -> Any:
    """Call layers one after the other."""
    for layer in layers:
        tensor = layer(tensor)
    return tensor
