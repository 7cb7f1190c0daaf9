r"""Differential principal components: the directions of the inputs along which the outputs change, as a layer.

With gradients g of the scaled outputs with respect to the scaled inputs, the eigenvectors v of the mean outer product

.. math:: M = \mathrm{mean}\, g g^T, \qquad v^T M v = \mathrm{mean}\, (v \cdot g)^2,

say how much the outputs change along each direction (Huge and Savine, Axes that matter: PCA with a difference, Risk,
October 2021; beside arXiv 2005.02347). Principal components of the inputs alone would keep those that vary most,
whether the outputs change along them or not. A network of the first few components has the gradient of the inputs by
the chain rule, and it is zero along the others: what they carried of M is the mean square error that this makes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, UsageError
from gradwire_training._data import Samples
from gradwire_training._models.io_binding import IoBinding
from gradwire_training._models.scaling import input_scales, moments, output_scales, units_of

Array: TypeAlias = "NDArray[np.float64]"

AUTO: Final = "auto"
# Of the gradient's mean square, by ``auto``: what is left is 1 % of the gradient's size.
CARRIED: Final = 0.9999
COMPONENTS: Final = "principal_components"  # the layer's name, by which a model's reduction is known
STEPS: Final = 10**6  # of the fraction as text, rounded down: 100 % is all
NARROW: Final = 1e-3  # of a component's spread: to divide by less would amplify the rounding of float32 inputs


@final
@dataclass(frozen=True, slots=True)
class Reduction:
    """What a network that sees principal components keeps of its inputs.

    Attributes:
        directions: how many components the network sees; inputs that do not vary are seen beside them.
        of: how many elements of the inputs vary.
        fraction: of the mean square of the gradient, in units of the spreads of inputs and outputs, that these
            directions carry: of the output that loses most. None where the samples have no derivatives.
    """

    directions: int
    of: int
    fraction: float | None

    def __str__(self) -> str:
        if self.fraction is None:
            return f"the network sees {self.directions} of {self.of} directions"
        percent = math.floor(self.fraction * STEPS) * 100 / STEPS
        return f"{self.directions} of {self.of} directions carry {percent:g} % of the gradient"


@final
@dataclass(frozen=True, slots=True)
class Components:
    """The components u of a model's inputs x: its outputs' derivatives with respect to u are dy/dx times the basis."""

    inputs: tuple[str, ...]  # in the model's order
    basis: Array  # dx/du, (elements of the inputs, components)


def components(samples: Samples, inputs: Sequence[str], reduce: str | int) -> keras.Layer:
    """Build the layer from scaled inputs, flattened and in this order, to their differential principal components.

    Each component has mean 0 and spread 1 over the samples, which count by the weights of their rows. Elements that do
    not vary pass unchanged behind them.

    Args:
        samples: with derivatives of every output with respect to every element of the inputs that varies, in some rows.
        inputs: names, in the model's order.
        reduce: how many components, or ``"auto"``: as many as carry 99.99 % of every output's gradient.

    Raises:
        DataError: the samples lack such derivatives, or no output changes at all.
        UsageError: no such number of components.
    """
    varies = _varying(samples, inputs)
    if not (count := int(varies.sum())):
        raise DataError(f"reduce needs inputs that vary, and {', '.join(map(repr, inputs))} do not: leave reduce out")
    if reduce != AUTO and (isinstance(reduce, str) or not 1 <= reduce <= count):
        raise UsageError(f"reduce {reduce!r}, expected {AUTO!r} or a number from 1 to {count}, the inputs that vary")
    moments_by_output = _second_moments(samples, inputs, varies)
    directions = np.linalg.eigh(np.mean(moments_by_output, axis=0))[1][:, ::-1]
    number = (
        next(number for number in range(1, count + 1) if _carried(directions[:, :number], moments_by_output) > CARRIED)
        if reduce == AUTO
        else int(reduce)
    )
    scales = input_scales(samples)
    scaled = np.concatenate(
        [_flat((samples.x[name] - scales[name].centre) / scales[name].spread) for name in inputs], 1
    )
    _, spread = moments(scaled[:, varies] @ directions[:, :number], samples.row_weights)
    kernel = np.zeros((len(varies), number + len(varies) - count))
    kernel[varies, :number] = directions[:, :number] / np.where(spread > NARROW, spread, 1.0)
    kernel[~varies, number:] = np.eye(len(varies) - count)
    layer = keras.layers.Dense(kernel.shape[1], use_bias=False, name=COMPONENTS, trainable=False)
    layer.build((None, len(kernel)))
    layer.set_weights([kernel])
    return layer


def reduction_of(model: keras.Model, samples: Samples, inputs: Sequence[str]) -> Reduction | None:
    """Return what a model with a layer of components keeps of the gradients of some samples; None without one.

    Args:
        model: a Keras model; the layer is one that ``components`` built, or a copy.
        samples: of the function.
        inputs: the model's, in its order.
    """
    if (kernel := _kernel(model)) is None:
        return None
    varies = _varying(samples, inputs)
    kernel = kernel[varies]
    directions, _ = np.linalg.qr(kernel[:, kernel.any(axis=0)])
    try:
        fraction = _carried(directions, _second_moments(samples, inputs, varies))
    except DataError:  # other samples than those that the layer was made of, without derivatives
        fraction = None
    return Reduction(directions.shape[1], len(directions), fraction)


def components_of(model: keras.Model, binding: IoBinding) -> Components | None:
    """Return the components that a model sees of its inputs; None where it sees the inputs themselves."""
    if (kernel := _kernel(model)) is None:
        return None
    units = units_of(model, binding).inputs
    scale = np.concatenate([np.broadcast_to(units[tensor.name], tensor.shape).ravel() for tensor in binding.inputs])
    # The inputs move within the span of the kernel, so that each component moves alone.
    return Components(tuple(tensor.name for tensor in binding.inputs), scale[:, None] * np.linalg.pinv(kernel).T)


def _kernel(model: keras.Model) -> Array | None:
    layer: Any = next((layer for layer in model.layers if layer.name == COMPONENTS), None)
    return None if layer is None else np.asarray(layer.get_weights()[0], np.float64)


def _second_moments(samples: Samples, inputs: Sequence[str], varies: NDArray[np.bool_]) -> list[Array]:
    """Return by output the mean outer product of its scaled gradient, over its trace; without those that are zero.

    It is the weighted mean where rows have weights.
    """
    inward, outward = input_scales(samples), output_scales(samples)
    moments_by_output: list[Array] = []
    for output in samples.y:
        size = outward[output].spread.size
        columns: list[Array] = []
        for name in inputs:
            column = samples.dydx.get(output, {}).get(name)
            elements = samples.x[name][0].size
            known = np.full((samples.count, size, elements), np.nan) if column is None else column
            columns.append(known.reshape(samples.count, size, elements) * inward[name].spread.ravel())
        gradients = np.concatenate(columns, axis=2)[:, :, varies] / outward[output].spread.reshape(-1, 1)
        if samples.row_weights is not None:
            gradients *= np.sqrt(samples.row_weights)[:, None, None]
        gradients = gradients.reshape(-1, gradients.shape[2])
        gradients = gradients[np.isfinite(gradients).all(axis=1)]
        if not len(gradients):
            raise DataError(
                f"reduce needs rows with the derivatives of {output!r} with respect to every input that varies, "
                f"and there is none: give them in dydx, or leave reduce out"
            )
        if gradients.any():
            moments_by_output.append(gradients.T @ gradients / (gradients**2).sum())
    if not moments_by_output:
        raise DataError("reduce needs derivatives, and all of them are zero: leave reduce out")
    return moments_by_output


def _carried(directions: Array, moments_by_output: Iterable[Array]) -> float:
    """Return the fraction that orthonormal directions carry of the output that loses most."""
    if directions.shape[0] == directions.shape[1]:
        return 1.0  # all of it, whatever the rounding
    return float(min(np.trace(directions.T @ moment @ directions) for moment in moments_by_output))


def _varying(samples: Samples, inputs: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which elements of the inputs, flattened and in this order, vary over the samples."""
    return np.concatenate([moments(samples.x[name], samples.row_weights)[1].ravel() > 0 for name in inputs])


def _flat(column: Array) -> Array:
    return column.reshape(len(column), -1)
