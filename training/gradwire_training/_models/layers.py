"""The layers of a Keras model, however deep."""

from __future__ import annotations

from typing import Any

import keras


def batch_normalizations(model: keras.Model) -> list[Any]:
    """Return the layers that normalise by statistics of the batch in training, however deep; frozen ones do not."""
    return [
        layer for layer in layers_of(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def layers_of(model: keras.Model) -> list[Any]:
    """Return the model and every layer in it, outer ones first."""
    return list(model._flatten_layers())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - ``layers`` ends at the first level, and knows no wrapped layer
