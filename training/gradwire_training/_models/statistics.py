"""The statistics of BatchNormalization: means and variances of the rows, which no gradient moves.

In training a layer normalises by the statistics of its batch, and what is exported normalises by a moving average of
them. The two are one function where the average is that of the rows at the final weights, or where the layers were
held to the average during the fit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, final

import keras

from gradwire_training._models.layers import batch_normalizations


@final
class BatchStatistics:
    """The statistics of a model's layers."""

    def __init__(self, model: keras.Model) -> None:
        self._layers = batch_normalizations(model)
        self.held = False  # whether the layers compute in inference form whatever the call says

    def take(self, call: Callable[[], Any], *, draws: int = 1) -> None:
        """Set the statistics to those of the rows that ``call`` evaluates in training, on average over some calls.

        One call is exact without random numbers: what a layer passes on is normalised by the statistics that it stores.
        """
        before = [(layer, layer.momentum, layer.renorm) for layer in self._layers]
        try:
            for draw in range(draws):
                for layer in self._layers:
                    layer.momentum, layer.renorm = draw / (draw + 1), False
                call()
        finally:
            for layer, momentum, renorm in before:
                layer.momentum, layer.renorm = momentum, renorm

    def hold(self) -> None:
        """Let the layers compute with their statistics as they are, also in training.

        Not by ``trainable``: that would take their scale and offset out of the fit, and their regularisers.
        """
        for layer in self._layers:
            layer.call = partial(_in_inference, layer)
        self.held = True

    def release(self) -> None:
        """Undo ``hold``."""
        for layer in self._layers if self.held else ():
            del layer.call
        self.held = False


def _in_inference(layer: Any, *arguments: Any, training: bool | None = None, **others: Any) -> Any:
    del training
    return type(layer).call(layer, *arguments, training=False, **others)
