"""A model, samples and a loss, tied into one number to be made small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import tensorflow as tf

from gradwire._contract import derivative_shape
from gradwire._errors import DataError, UsageError
from gradwire_export import row_derivatives
from gradwire_training._labels import Labels, mean_over
from gradwire_training._rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    import keras
    from numpy.typing import NDArray

    from gradwire_training._losses import Loss
    from gradwire_training._ports import Ports
    from gradwire_training._samples import Samples

Weights: TypeAlias = "list[NDArray[Any]]"


@final
class Objective:
    """Loss and metric of a model, with their gradient; the model's variables are the state.

    Args:
        model: in the precision in which it is to be trained.
        ports: how its names and the samples' match.
        samples: what is fitted.
        loss: how.
        dtype: the precision, ``"float32"`` or ``"float64"``.

    Attributes:
        model: as given.
        dtype: as given.
        trainable: the variables that optimisers move, in Keras's order.

    Raises:
        DataError: the loss needs labels that are not there, or a derivative by an integer input.
        UsageError: the model has no trainable weight.
    """

    def __init__(self, model: keras.Model, ports: Ports, samples: Samples, loss: Loss, *, dtype: str) -> None:
        loss.check(samples)
        self.model = model
        self.dtype = dtype
        self.trainable: list[Any] = list(model.trainable_variables)
        if not self.trainable:
            raise UsageError(f"the model {model.name!r} has no trainable weight: set trainable on some layer")
        self._ports = ports
        self._loss = loss
        self._shapes = {port.name: port.shape for port in (*ports.inputs, *ports.outputs)}
        rows = Rows.of(samples, loss)
        self._x = {
            port.name: tf.constant(
                rows.x[port.name].reshape(-1, *port.shape), dtype if port.is_floating else port.dtype
            )
            for port in ports.inputs
        }
        self._known = {name: self._labels(column, self._shapes[name]) for name, column in rows.known.items()}
        self._fitted = {
            name: self._labels(column, self._shapes[name]) for name, column in rows.fitted.items()
        }
        self._slopes = {
            output: {wrt: self._slope(output, wrt, column) for wrt, column in by.items()}
            for output, by in rows.slopes.items()
        }

    def loss_and_mae(self) -> tuple[Any, Any]:
        """Computes the loss, and the mean absolute error of every value that is known.

        Losses that the model's layers add, such as regularisers, are part of the loss, as in Keras.

        Returns:
            Two scalars; the second is zero where no value is known.
        """
        values, derivatives = row_derivatives(
            lambda x: self._ports.call(self.model, x, training=True),
            self._x,
            {output: list(by) for output, by in self._slopes.items()},
            self._shapes,
        )
        fitted = [(labels, values[name]) for name, labels in self._fitted.items()]
        known = [(labels, values[name]) for name, labels in self._known.items()]
        slopes = [
            (labels, derivatives[output][wrt])
            for output, by in self._slopes.items()
            for wrt, labels in by.items()
        ]
        loss = self._loss.value_weight * mean_over(tf.square, fitted)
        if slopes:
            loss += self._loss.derivative_weight * mean_over(tf.square, slopes)
        for added in self.model.losses:
            loss += tf.cast(added, self.dtype)
        return loss, mean_over(tf.abs, known)

    def gradient(self) -> tuple[Any, Any, list[Any]]:
        """Computes loss, metric, and the loss's gradient by every trainable variable."""
        sources = [variable.value for variable in self.trainable]
        with tf.GradientTape() as tape:
            loss, mae = self.loss_and_mae()
        return loss, mae, tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def snapshot(self) -> Weights:
        """Copies every weight, trainable or not."""
        return [np.array(weight) for weight in self.model.weights]

    def restore(self, weights: Iterable[NDArray[Any]]) -> None:
        """Puts a snapshot back."""
        for variable, weight in zip(self.model.weights, weights, strict=True):
            variable.assign(weight)

    def _labels(self, column: NDArray[np.float64], shape: tuple[int, ...]) -> Labels:
        return Labels.of(column.reshape(-1, *shape), self.dtype)

    def _slope(self, output: str, wrt: str, column: NDArray[np.float64]) -> Labels:
        if not self._x[wrt].dtype.is_floating:
            raise DataError(
                f"dydx[{output!r}][{wrt!r}]: the model's {wrt!r} is an integer: leave it out of dydx"
            )
        return self._labels(column, derivative_shape(self._shapes[output], self._shapes[wrt]))
